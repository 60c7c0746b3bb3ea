"""`python -m dicom_node`: the same as the command triage-node."""

from dicom_node.cli import main

if __name__ == "__main__":
    main()
