"""DICOMweb (PS3.18) from the node's own archive: QIDO-RS, WADO-RS, STOW-RS. The whole of it is built in routes.py."""
