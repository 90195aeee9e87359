"""A replica in front of a model server that speaks the OpenAI protocol: vLLM, SGLang, llama.cpp, a hosted one.

Its worker process decodes files as every worker does, and sends their frames to the server instead of to an engine.
"""

import os
from multiprocessing.connection import Connection
from pathlib import Path

from captioner.replicas.process import ProcessReplica, prepare_process
from captioner.replicas.protocol import Lost
from captioner.system.endpoints import DEFAULT_KEY
from captioner.values import ModelSpec

KNOWN_KEY = "CAPTIONER_SERVER_KEY"  # the name by which redaction knows the key in the worker process


def endpoint_main(connection: Connection, spec: ModelSpec, folder: Path, num_threads: int) -> None:
    """Run the worker process of a server. The key comes from the environment alone, and stays in this process."""
    if key := os.environ.get(spec.endpoint_key or DEFAULT_KEY, "").strip():
        os.environ[KNOWN_KEY] = key
    prepare_process()
    try:
        from captioner.replicas.endpoint_worker import serve  # imports openai, which only this process needs
    except ModuleNotFoundError as error:
        connection.send(Lost(f"model servers need the package {error.name}: pip install {error.name}", final=True))
        return
    serve(connection, spec, key, num_threads)


class EndpointReplica(ProcessReplica):
    """A replica whose worker process asks a model server; `spec.device` is its address."""

    main = staticmethod(endpoint_main)
