"""Forms as browsers send them by default: bounded in length and in the number of their fields."""

from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

MOST_FIELDS = 50


async def read_form(request: Request, longest: int, said: str) -> dict[str, list[str]]:
    """The fields of a form; 413 with what is `said` when it is longer, 400 when it has more than any here."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > longest:
            raise HTTPException(413, said)
    try:
        return parse_qs(body.decode("utf-8", "replace"), max_num_fields=MOST_FIELDS)
    except ValueError:
        raise HTTPException(400, f"The form has more than {MOST_FIELDS} fields.") from None
