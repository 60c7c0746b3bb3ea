# Sourced by the scripts here: makes the project's own virtual environment in .venv and installs what is missing.
# PyTorch comes first and alone, pinned, so that nothing that follows pulls another build of it.

TORCH="torch==2.13.0"

say() { printf '%s\n' "$*" >&2; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "Python 3.11, 3.12 or 3.13 is needed (set PYTHON to choose one)."
    exit 2
}

# install_into_venv EXTRA: "" for the node alone, "[test]" with what the tests need.
install_into_venv() {
    local extra=$1 python stamp wanted
    stamp=.venv/installed
    python=$(find_python)
    wanted="$TORCH $extra $(cksum <pyproject.toml) $("$python" --version)"
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        say "Making a virtual environment in .venv ..."
        if ! "$python" -m venv --clear .venv; then
            say "The venv module is missing; on Debian and Ubuntu: apt install python3-venv"
            exit 2
        fi
    fi
    if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
        say "Installing PyTorch ($TORCH); this is the largest download ..."
        .venv/bin/python -m pip install --quiet --disable-pip-version-check "$TORCH"
    fi
    say "Installing triage-node$extra ..."
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$extra"
    printf '%s\n' "$wanted" >"$stamp"
}

# run_script ROOT NAME ARGUMENTS: scripts/NAME.py in the project's environment, from the folder of whoever called.
run_script() {
    local root=$1 name=$2
    shift 2
    (
        cd "$root"
        install_into_venv "[test]"
    )
    exec "$root/.venv/bin/python" "$root/scripts/$name.py" "$@"
}
