"""`python -m certification` is `certify`."""

from certification.cli import main

main()
