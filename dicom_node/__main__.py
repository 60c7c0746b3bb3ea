"""`python -m dicom_node`: the same as the command triage-node."""

from dicom_node.commands.main import main

if __name__ == "__main__":
    main()
