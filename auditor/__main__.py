"""The program ``auditor``, and ``python -m auditor``: first of all the working directory leaves the path."""

from auditor.interpreter import leave_working_directory

leave_working_directory()

from auditor.cli import main  # noqa: E402

if __name__ == "__main__":
    main(prog_name="auditor")
