"""`openapi_document`: the OpenAPI 3.0 document of a model server, made from the predictor's spec and nothing else."""

from typing import Any, Dict, FrozenSet, List, Optional

from cog.schema.spec import FieldSpec, OutputSpec, PredictorSpec, TypeSpec
from cog.version import __version__

Json = Dict[str, Any]

_SCALARS: Dict[str, Json] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "path": {"type": "string", "format": "uri"},
    "file": {"type": "string", "format": "uri"},
    "secret": {"type": "string", "format": "password", "writeOnly": True, "x-cog-secret": True},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "any": {},
    "none": {"enum": [None], "nullable": True},
}

ID_PATTERN = "^[A-Za-z0-9_-]{1,128}$"

STATUSES = ["starting", "processing", "succeeded", "canceled", "failed"]


def openapi_document(spec: PredictorSpec, *, is_closed: bool = True) -> Json:
    """Give the document; `components.schemas` has Input, Output, PredictionRequest, PredictionResponse and the rest.

    `is_closed=False` is for a server that drops inputs of unknown names instead of refusing them.
    """
    is_training = spec.mode == "train"
    prefix, noun = ("Training", "training") if is_training else ("Prediction", "prediction")
    input_name, output_name = ("TrainingInput", "TrainingOutput") if is_training else ("Input", "Output")
    request = _request(prefix, input_name, is_needed=any(item.required for item in spec.inputs))
    # The id of a PUT is in its path.
    put_properties = {name: each for name, each in request["properties"].items() if name != "id"}
    # Classes of the model may have the same names: they get a number.
    own = {
        "Status": {"type": "string", "enum": STATUSES, "title": "Status", "description": "An enumeration."},
        f"{prefix}Request": request,
        f"{prefix}PutRequest": {**request, "title": f"{prefix}PutRequest", "properties": put_properties},
        f"{prefix}Response": _response(prefix, input_name, output_name),
        "ValidationError": _VALIDATION_ERROR,
        "HTTPValidationError": _HTTP_VALIDATION_ERROR,
        "Error": _ERROR,
    }
    taken = frozenset((input_name, output_name, *own))
    schemas = _Schemas({}, taken, is_closed=False)
    # Objects in inputs are closed: the validator refuses names that the model does not know.
    closed = _Schemas(schemas.made, taken, is_closed=True)
    inputs = _inputs(spec, closed)
    if not is_closed:
        del inputs["additionalProperties"]
    schemas.made[input_name] = {**inputs, "title": input_name}
    schemas.made[output_name] = {**_output(spec.output, schemas), "title": output_name}
    schemas.made.update(own)
    return {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": __version__},
        "paths": _paths(prefix, noun, input_name, output_name, _query(spec, inputs["properties"])),
        "components": {"schemas": schemas.made},
    }


class _Schemas:
    """The components made so far. A name that is `taken`, or another schema's, gets a number."""

    def __init__(self, made: Dict[str, Json], taken: FrozenSet[str], *, is_closed: bool) -> None:
        self.made = made
        self.taken = taken
        self.is_closed = is_closed

    def add(self, name: str, schema: Json) -> Json:
        """Keep `schema` under `name`, or under a free name like it; give a reference to it."""
        free, number = name, 2
        while free in self.taken or (free in self.made and self.made[free] != schema):
            free, number = f"{name}{number}", number + 1
        self.made[free] = schema
        return {"$ref": f"#/components/schemas/{free}"}


def _inputs(spec: PredictorSpec, schemas: _Schemas) -> Json:
    properties = {field.name: {"x-order": order, **_input(field, schemas)} for order, field in enumerate(spec.inputs)}
    required = [field.name for field in spec.inputs if field.required]
    closed = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**closed, **({"required": required} if required else {})}


def _input(field: FieldSpec, schemas: _Schemas) -> Json:
    spec = field.type
    if field.choices is not None and spec.kind not in ("list", "set"):
        schema = _enumeration(field.name, field.choices, schemas)
    elif field.choices is not None:
        schema = {"type": "array", "items": {**_type(spec.items[0], schemas), "enum": list(field.choices)}}
        schema["title"] = _title(field)
    else:
        inner = _type(spec, schemas)
        # Whatever stands beside a bare $ref is ignored in OpenAPI 3.0.
        schema = {"title": _title(field), **({"allOf": [inner]} if "$ref" in inner else inner)}
    if spec.nullable:
        schema["nullable"] = True
    for name, key in _CONSTRAINTS.items():
        value = getattr(field, name)
        if value is not None:
            schema[_array_key(key) if schema.get("type") == "array" else key] = value
    for name, key in (("gt", "Minimum"), ("lt", "Maximum")):
        if getattr(field, name) is not None:
            schema[key.lower()], schema[f"exclusive{key}"] = getattr(field, name), True
    if not field.required and field.default is not None and spec.kind != "secret":
        schema["default"] = field.default
    if field.description is not None:
        schema["description"] = field.description
    if field.deprecated:
        schema["deprecated"] = True
    if field.accept is not None:
        schema["x-cog-accept"] = field.accept
    if field.examples:
        schema["example"] = field.examples[0]
    return schema


_CONSTRAINTS = {
    "ge": "minimum",
    "le": "maximum",
    "multiple_of": "multipleOf",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_items": "minItems",
    "max_items": "maxItems",
    "regex": "pattern",
}


def _array_key(key: str) -> str:
    return key.replace("Length", "Items")


def _title(field: FieldSpec) -> str:
    return field.title or field.name.replace("_", " ").title()


def _enumeration(name: str, values: Any, schemas: _Schemas) -> Json:
    schema = {"title": name, "description": "An enumeration.", "enum": list(values), **_value_type(values)}
    return {"allOf": [schemas.add(name, schema)]}


def _value_type(values: Any) -> Json:
    for types, name in (((bool,), "boolean"), ((int,), "integer"), ((int, float), "number"), ((str,), "string")):
        if all(isinstance(value, types) and (types == (bool,) or not isinstance(value, bool)) for value in values):
            return {"type": name}
    return {}


def _type(spec: TypeSpec, schemas: _Schemas, *, name: str = "") -> Json:
    schema = dict(_SCALARS[spec.kind]) if spec.kind in _SCALARS else _container(spec, schemas, name)
    if spec.nullable:
        if "$ref" in schema:
            schema = {"allOf": [schema]}
        schema["nullable"] = True
    return schema


def _container(spec: TypeSpec, schemas: _Schemas, name: str) -> Json:
    items = [_type(item, schemas) for item in spec.items]
    if spec.kind in ("list", "set"):
        # No uniqueItems: a value given twice is in the set once, it is no error.
        return {"type": "array", "items": items[0]}
    if spec.kind == "tuple":
        each = items[0] if all(item == items[0] for item in items) else {"anyOf": items}
        return {"type": "array", "items": each, "minItems": len(items), "maxItems": len(items)}
    if spec.kind == "dict":
        return {"type": "object", "additionalProperties": items[0] or True}
    if spec.kind == "union":
        return {"anyOf": items}
    if spec.kind == "literal":
        return {"enum": list(spec.values), **_value_type(spec.values)}
    if spec.kind == "enum":
        title = spec.name or name
        schema = {"title": title, "description": "An enumeration.", "enum": list(spec.values)}
        return schemas.add(title, {**schema, **_value_type(spec.values)})
    return schemas.add(spec.name or "Object", {**_object(spec, schemas), "title": spec.name})


def _object(spec: TypeSpec, schemas: _Schemas) -> Json:
    properties: Dict[str, Json] = {}
    for field in spec.fields:
        inner = _type(field.type, schemas)
        properties[field.name] = inner if "$ref" in inner else {"title": _title(field), **inner}
    extra = {"additionalProperties": False} if schemas.is_closed else {}
    required = [field.name for field in spec.fields if field.required]
    return {"type": "object", "properties": properties, **({"required": required} if required else {}), **extra}


def _output(output: OutputSpec, schemas: _Schemas) -> Json:
    if output.is_iterator:
        schema: Json = {"type": "array", "items": _type(output.type, schemas), "x-cog-array-type": "iterator"}
        if output.is_concatenated:
            schema["x-cog-array-display"] = "concatenate"
        return schema
    if output.type.kind == "object":
        return _object(output.type, schemas)
    return _type(output.type, schemas)


_OUTPUT_PATH: Json = {
    "title": "Output Path",
    "description": "A URL that output files go below, `{id}` and `{name}` filled in, or presigned URLs to PUT to",
    "anyOf": [
        {"type": "string", "format": "uri"},
        {"type": "array", "items": {"type": "string", "format": "uri"}, "minItems": 1, "maxItems": 10000},
    ],
    "nullable": True,
}


def _request(prefix: str, input_name: str, *, is_needed: bool) -> Json:
    properties: Dict[str, Json] = {
        "input": {
            "allOf": [{"$ref": f"#/components/schemas/{input_name}"}],
            **({} if is_needed else {"nullable": True}),
        },
        "id": {"type": "string", "title": "Id", "pattern": ID_PATTERN, "nullable": True},
        "context": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "title": "Context",
            "nullable": True,
        },
        "deadline": {
            "title": "Deadline",
            "description": "Seconds from now, or a moment",
            "anyOf": [
                {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 2592000},
                {"type": "string", "format": "date-time"},
            ],
            "nullable": True,
        },
        "webhook": {
            "type": "string",
            "format": "uri",
            "title": "Webhook",
            "description": "An http or https URL that is told what happens",
            "nullable": True,
        },
        "webhook_events_filter": {
            "type": "array",
            "items": {"type": "string", "enum": ["start", "output", "logs", "completed"]},
            "title": "Webhook Events Filter",
            "description": "The events that the webhook wants, all by default",
            "nullable": True,
        },
        "output_path": _OUTPUT_PATH,
        "output_file_prefix": {
            **_OUTPUT_PATH,
            "title": "Output File Prefix",
            "description": "An older name of `output_path`",
            "deprecated": True,
        },
    }
    required = {"required": ["input"]} if is_needed else {}
    return {"type": "object", "title": f"{prefix}Request", "properties": properties, **required}


def _response(prefix: str, input_name: str, output_name: str) -> Json:
    moment = {"type": "string", "format": "date-time", "nullable": True}
    properties: Dict[str, Json] = {
        "id": {"type": "string", "title": "Id"},
        "status": {"$ref": "#/components/schemas/Status"},
        "input": {"$ref": f"#/components/schemas/{input_name}"},
        "output": {"allOf": [{"$ref": f"#/components/schemas/{output_name}"}], "nullable": True},
        "logs": {"type": "string", "title": "Logs", "default": ""},
        "error": {"type": "string", "title": "Error", "nullable": True},
        "metrics": {"type": "object", "title": "Metrics", "additionalProperties": True},
        "output_info": {
            "type": "array",
            "title": "Output Info",
            "description": "The files in `output`: there with COG_OUTPUT_INFO",
            "items": {
                "type": "object",
                "properties": {
                    "place": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                    "url": {"type": "string", "format": "uri"},
                    "name": {"type": "string"},
                    "media_type": {"type": "string"},
                    "size": {"type": "integer"},
                    "sha256": {"type": "string"},
                },
            },
        },
        "created_at": {**moment, "title": "Created At"},
        "started_at": {**moment, "title": "Started At"},
        "completed_at": {**moment, "title": "Completed At"},
    }
    return {"type": "object", "title": f"{prefix}Response", "properties": properties, "required": ["id", "status"]}


_VALIDATION_ERROR: Json = {
    "title": "ValidationError",
    "type": "object",
    "required": ["loc", "msg", "type"],
    "properties": {
        "loc": {"title": "Location", "type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
        "msg": {"title": "Message", "type": "string"},
        "type": {"title": "Error Type", "type": "string"},
    },
}


def _problem(title: str, detail: Json) -> Json:
    properties = {"title": {"type": "string"}, "status": {"type": "integer"}, "detail": detail}
    properties["error"] = {"type": "string", "description": "`detail` as text"}
    return {"title": title, "type": "object", "required": [*properties], "properties": properties}


_DETAILS: Json = {"title": "Detail", "type": "array", "items": {"$ref": "#/components/schemas/ValidationError"}}
_HTTP_VALIDATION_ERROR = _problem("HTTPValidationError", _DETAILS)
_ERROR = _problem("Error", {"type": "string"})


def _answer(description: str, schema: Optional[str]) -> Json:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"} if schema else {"type": "object"}}
    return {"description": description, "content": {"application/json": content}}


def _refusal(description: str, schema: str = "Error") -> Json:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    return {"description": description, "content": {"application/problem+json": content}}


_REFUSALS: Dict[str, Json] = {
    "400": _refusal("The body is not UTF-8"),
    "401": _refusal("A token is needed"),
    "403": _refusal("The request comes from a page of another site"),
    "409": _refusal("All slots and the queue are full"),
    "413": _refusal("The body is too large"),
    "415": _refusal("The body is neither application/json nor multipart/form-data"),
    "422": _refusal("The request is not valid", "HTTPValidationError"),
    "503": _refusal("The model is not ready"),
    "507": _refusal("There is no room for the files"),
}


_METRICS: Json = {
    "description": "Prometheus' text format",
    "content": {"text/plain": {"schema": {"type": "string"}}},
}


_QUERY_KINDS = ("str", "int", "float", "bool", "path", "file", "secret", "datetime", "date", "literal", "enum")


def _query(spec: PredictorSpec, properties: Json) -> List[Json]:
    """The inputs as parameters of a query: a list by repeating its name, what is nested as JSON."""
    parameters: List[Json] = []
    for field in spec.inputs:
        schema = {key: value for key, value in properties[field.name].items() if not key.startswith("x-")}
        parameter: Json = {"name": field.name, "in": "query", "required": field.required}
        item = field.type.items[0] if field.type.kind in ("list", "set") else field.type
        if item.kind in _QUERY_KINDS:
            parameter["schema"] = schema
        else:
            parameter["content"] = {"application/json": {"schema": schema}}
        parameters.append(parameter)
    return parameters


def _body(schema: str, *, is_needed: bool) -> Json:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"content": content, "required": is_needed}


def _form(spec: PredictorSpec, properties: Json) -> Json:
    """The inputs as a form of a browser, or of `curl -F`: files as they are."""
    fields = {field.name: dict(properties[field.name]) for field in spec.inputs}
    for field in spec.inputs:
        item = field.type.items[0] if field.type.kind in ("list", "set") else field.type
        if item.kind in ("path", "file"):
            whole = fields[field.name]
            place = whole if item is field.type else whole.setdefault("items", {})
            place["format"] = "binary"
    schema: Json = {"type": "object", "properties": fields}
    required = [field.name for field in spec.inputs if field.required]
    return {"multipart/form-data": {"schema": {**schema, **({"required": required} if required else {})}}}


def _parameter(name: str, place: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": place, "required": place == "path", "schema": schema, "description": description}


def _list_operation(prefix: str, noun: str) -> Json:
    found = {"type": "array", "items": {"$ref": f"#/components/schemas/{prefix}Response"}}
    page = {
        "type": "object",
        "properties": {"results": found, "next": {"type": "string", "nullable": True}},
        "required": ["results", "next"],
    }
    return {
        "summary": f"The {noun}s, newest first",
        "operationId": f"list_{noun}s",
        "parameters": [
            _parameter("status", "query", {"$ref": "#/components/schemas/Status"}, "Only these"),
            _parameter("limit", "query", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}, "How many"),
            _parameter("cursor", "query", {"type": "string"}, "From the `next` of an earlier page"),
        ],
        "responses": {
            "200": {"description": "A page", "content": {"application/json": {"schema": page}}},
            "404": _refusal("There is no page at this cursor"),
            "422": _REFUSALS["422"],
            "503": _REFUSALS["503"],
        },
    }


def _paths(prefix: str, noun: str, input_name: str, output_name: str, query: List[Json]) -> Json:
    is_needed = any(parameter["required"] for parameter in query)
    body = _body(f"{prefix}Request", is_needed=is_needed)
    put_body = _body(f"{prefix}PutRequest", is_needed=is_needed)
    bare = _body(input_name, is_needed=is_needed)
    done = _answer(f"The {noun}, also when it failed: see `status`", f"{prefix}Response")
    taken = _answer(f"The {noun} as it stands: it goes on", f"{prefix}Response")
    streamed: Json = {**done, "content": {**done["content"], "text/event-stream": {"schema": {"type": "string"}}}}
    run = {"responses": {"200": streamed, "202": taken, **_REFUSALS}}
    output = {"type": "object", "properties": {"output": {"$ref": f"#/components/schemas/{output_name}"}}}
    direct = {"description": "The output", "content": {"application/json": {"schema": output}}}
    unknown = _refusal("There is none of this id")
    prefer = _parameter("Prefer", "header", {"type": "string"}, "`respond-async`, or `wait=` a number of seconds")
    one = [
        _parameter(f"{noun}_id", "path", {"type": "string", "pattern": ID_PATTERN}, "1 to 128 letters, digits, _, -")
    ]
    paths: Json = {
        "/": {"get": {"summary": "What there is", "responses": {"200": _answer("Links", None)}}},
        "/health-check": {"get": {"summary": "State of the model", "responses": {"200": _answer("The state", None)}}},
        "/metrics": {
            "get": {"summary": "Numbers for Prometheus", "responses": {"200": _METRICS, "401": _REFUSALS["401"]}}
        },
        "/livez": {"get": {"summary": "Whether the server lives", "responses": {"200": _answer("It does", None)}}},
        "/readyz": {
            "get": {
                "summary": "Whether predictions are taken",
                "responses": {"200": _answer("Yes", None), "503": _refusal("Not now")},
            }
        },
        f"/{noun}s": {
            "post": {
                "summary": f"Run a {noun}",
                "operationId": f"create_{noun}",
                "parameters": [prefer],
                "requestBody": body,
                **run,
            },
            "get": _list_operation(prefix, noun),
        },
        f"/{noun}s/{{{noun}_id}}": {
            "put": {
                "summary": f"Run a {noun} under an id of your own, once",
                "operationId": f"put_{noun}",
                "parameters": [*one, prefer],
                "requestBody": put_body,
                **run,
            },
            "get": {
                "summary": f"A {noun} as it stands",
                "operationId": f"get_{noun}",
                "parameters": one,
                "responses": {"200": streamed, "404": unknown, "503": _REFUSALS["503"]},
            },
            "delete": {
                "summary": f"Forget a finished {noun}",
                "operationId": f"delete_{noun}",
                "parameters": one,
                "responses": {
                    "204": {"description": "It is forgotten"},
                    "404": unknown,
                    "409": _refusal("It is running"),
                    "503": _REFUSALS["503"],
                },
            },
        },
        f"/{noun}s/{{{noun}_id}}/cancel": {
            "post": {
                "summary": f"Cancel a {noun}",
                "operationId": f"cancel_{noun}",
                "parameters": one,
                "responses": {"200": _answer("Canceled", None), "404": _answer("There is none of this id", None)},
            }
        },
    }
    if noun == "prediction":
        failed = {"500": _refusal("The model failed"), **_REFUSALS}
        post = {"summary": "Input in, output out", "requestBody": bare, "responses": {"200": direct, **failed}}
        get = {"summary": "Input as query, output out", "parameters": query, "responses": {"200": direct, **failed}}
        paths["/predict"] = {"post": post, "get": get}
    return paths


__all__: List[str] = ["openapi_document"]
