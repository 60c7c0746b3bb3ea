"""OHIF's own files, as installed, and the settings that this node gives it.

OHIF's routes lie under /viewer, but its scripts ask for the root ("/89.bundle.js"): the last route of the node serves
what of that is a file of OHIF. Everything here carries a policy of its own: OHIF's decoders make functions from text
(Emscripten's embind: without it neither compressed images nor segmentations are shown), it starts workers and styles
elements by script; but it may speak with nobody except this node.
"""

import re
from base64 import b64encode
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response

from dicom_node.web.site import HERE, site_of
from dicom_node.web.viewer.install import viewer_folder

CONFIG = HERE / "static" / "viewer" / "ohif.js"
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/vnd.microsoft.icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
}
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-eval'{scripts}; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; frame-src 'self';"
    " manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HASHED = re.compile(r"[.-]?[0-9a-f]{16}\.(js|wasm|woff2)$")
ROOTED = {  # where OHIF's files say that they lie at the root
    ".html": re.compile(rb'((?:href|src|content|PUBLIC_URL)=")/(?!/)'),
    ".css": re.compile(rb"""(url\(["']?)/(?!/)"""),
    ".js": re.compile(rb'(__webpack_require__\.p = ")/(?=")'),
}
INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def show_viewer(request: Request) -> Response:
    """GET /viewer/...: OHIF's page, whichever of its routes is asked for; the worklist where no study is named."""
    if not request.path_params["path"]:
        return RedirectResponse("/", 303)
    page = viewer_folder(site_of(request).settings.node.data) / "index.html"
    if not page.is_file():
        raise HTTPException(404, "No viewer is installed on this node. Install it with: triage-node viewer install")
    root, changed_at = request.scope.get("root_path", ""), page.stat().st_mtime_ns
    return _file(request, page, policy_of(page, changed_at, root))


def config(request: Request) -> Response:
    """GET /app-config.js: what OHIF is told."""
    return _file(request, CONFIG, POLICY.format(scripts=""))


def file(request: Request) -> Response:
    """GET anything that is no page of the node: a file of OHIF, or 404."""
    folder = viewer_folder(site_of(request).settings.node.data)
    name = request.path_params["name"]
    try:
        path = (folder / name).resolve()
        known = folder.is_dir() and path.is_relative_to(folder.resolve()) and path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        known = False
    if not known:
        raise HTTPException(404)
    return _file(request, path, POLICY.format(scripts=""))


@lru_cache(maxsize=2)
def policy_of(page: Path, changed_at: int, root: str) -> str:
    """The policy for OHIF's page, whose own inline scripts are named by their hashes."""
    shown = below(page, changed_at, root).decode()
    scripts = [sha256(text.encode()).digest() for text in INLINE_SCRIPT.findall(shown)]
    return POLICY.format(scripts="".join(f" 'sha256-{b64encode(digest).decode()}'" for digest in scripts))


@lru_cache(maxsize=64)
def below(path: Path, changed_at: int, root: str) -> bytes:
    """A page, style or script of OHIF that asks for its files below another root than "/", for which it was built."""
    content = path.read_bytes()
    return ROOTED[path.suffix].sub(rb"\g<1>" + root.encode() + rb"/", content) if root else content


def _file(request: Request, path: Path, policy: str) -> Response:
    lasting = "public, max-age=31536000, immutable" if HASHED.search(path.name) else "no-cache"
    headers = {"Content-Security-Policy": policy, "Cache-Control": lasting}
    media_type, stat = TYPES.get(path.suffix, "application/octet-stream"), path.stat()
    response: Response = FileResponse(path, headers=headers, media_type=media_type, stat_result=stat)
    root = request.scope.get("root_path", "")
    if root and path.suffix in ROOTED and path != CONFIG:
        headers["ETag"] = response.headers["etag"]
        response = Response(below(path, stat.st_mtime_ns, root), headers=headers, media_type=media_type)
    known = request.headers.get("if-none-match", "")
    return Response(status_code=304, headers=dict(response.headers)) if known == response.headers["etag"] else response
