"""Operation ids by convention: ``listStudents``, ``createStudent``, ``getStudent``, ``updateStudent``, and so on.

They come from the names of resources: ``Students`` holds many, ``OneStudent`` is one, ``StudentUndelete`` and
``CloseOrganization`` are actions. A handler that fits none of these names its operation with ``marks.named``.
"""

from campshub.core.http.endpoint import Handler

_ACTIONS = ("Accept", "Close", "Confirm", "Lock", "Reopen", "Resend", "Reset", "Submit", "Undelete")

_OF_LISTS = {"items", "next_cursor", "has_more"}


class Unnamed(Exception):
    """No operation id follows from the name of a resource."""


def operation_id(handler: Handler, method: str) -> str:
    """Return the id of an operation.

    :raises Unnamed: the convention gives none.
    """
    if handler.mark.operation is not None:
        return handler.mark.operation
    method, name = method.lower(), handler.name
    one = name.removeprefix("One")
    if method == "get":
        return f"list{name}" if _is_list(handler) else f"get{one}"
    if method in ("patch", "delete"):
        return f"{'update' if method == 'patch' else 'delete'}{one}"
    if method == "post":
        for action in _ACTIONS:
            if name.startswith(action):
                return f"{action.lower()}{name.removeprefix(action)}"
            if name.endswith(action):
                return f"{action.lower()}{name.removesuffix(action)}"
        if name.endswith("s"):
            return f"create{_singular(name)}"
    raise Unnamed(f"{name} {method} needs @named(...): no operation id follows from its name")


def _is_list(handler: Handler) -> bool:
    answer = handler.mark.answer
    return handler.mark.is_page or (answer is not None and {"items"} <= set(answer().fields) <= _OF_LISTS)


def _singular(plural: str) -> str:
    return f"{plural.removesuffix('ies')}y" if plural.endswith("ies") else plural.removesuffix("s")
