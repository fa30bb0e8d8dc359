"""`python -m signing_service` is the program `signing-service`."""

from signing_service.cli.start import main

if __name__ == "__main__":
    main()
