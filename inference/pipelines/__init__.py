"""One file per clinical question; `registry` names them."""
