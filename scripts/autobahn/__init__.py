"""The Autobahn test suite's cases for servers, against an echo that is made of the gateway's parts.

The suite itself needs Python 2. Kosoku (PyPI) runs its case files on Python 3; it is installed
apart from everything else, by `make autobahn`.
"""
