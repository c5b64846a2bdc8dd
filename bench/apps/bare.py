"""The ceiling: a Flask application whose one view answers a constant."""

from flask import Flask, Response

app = Flask("bare")
_BODY = b'{"status": "ok"}'


@app.get("/")
def constant() -> Response:
    return Response(_BODY, mimetype="application/json")
