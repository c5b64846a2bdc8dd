"""The upper bound: a Flask application whose only view returns a constant."""

from flask import Flask, Response

app = Flask("bare")
_BODY = b'{"status": "ok"}'


@app.get("/")
def constant() -> Response:
    return Response(_BODY, mimetype="application/json")
