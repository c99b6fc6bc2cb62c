"""Where the bytes of a model come from: this machine, the Hub, a web server, an object store.

A file is named by its location: a path of this machine, or a URI such as `hf://org/name@COMMIT/model.safetensors`.
`door.py` opens either. What stands in a plan, a journal or a record is a location and an identity; neither ever holds
a token or a signed address. What is read of a server is kept nowhere on disk.
"""
