"""The official OpenAI client for Python has turns on a WebSocket of a running bridge.

responses.py BASE_URL TOKEN: steps and what comes of them as responses.mjs has them.
"""

import json
import sys

import openai

ENDS = ("response.completed", "response.failed", "response.incomplete")


def tell(line):
    print(json.dumps(line), flush=True)


def failure(error):
    return {"error": {"name": type(error).__name__, "message": str(error), "event": None}}


def turn(connection, asked, done):
    previous = asked.pop("previous_response_id", None)
    if previous is not None:
        asked["previous_response_id"] = done[previous].id if isinstance(previous, int) else previous
    connection.response.create(**asked)
    events, numbers, deltas = [], [], []
    for event in connection:
        if event.type == "error":
            done.append(None)
            message = event.error.message
            return {"events": events, "error": {"name": type(event).__name__, "message": message, "event": event.to_dict()}}
        events.append(event.type)
        numbers.append(event.sequence_number)
        if event.type == "response.output_text.delta":
            deltas.append(event.delta)
        if event.type in ENDS:
            done.append(event.response)
            response = event.response.to_dict(mode="json")
            response["output_text"] = event.response.output_text
            return {"events": events, "numbers": numbers, "text": "".join(deltas), "deltas": len(deltas), "response": response}
    return {"events": events, "error": {"name": "Closed", "message": "the connection was closed", "event": None}}


def main(base_url, token):
    client = openai.OpenAI(base_url=base_url, api_key=token)
    done = []
    with client.responses.connect() as connection:
        for line in sys.stdin:
            tell(turn(connection, json.loads(line), done))


try:
    main(*sys.argv[1:])
except Exception as error:
    tell(failure(error))
    sys.exit(1)
