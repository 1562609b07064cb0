"""Servers that are not there: what addresses answer is a table, and no connection is made."""

import io

import pytest
import requests
from requests.structures import CaseInsensitiveDict


class Servers:
    """What is at each address, and which were asked for."""

    def __init__(self):
        self.files, self.requested = {}, []

    def add(self, url, content=b"", status=200, **headers):
        """Puts a response at an address, which is returned; `headers` with _ for -."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.files[url] = (content, status, {"Content-Length": str(len(content))} | headers)
        return url

    def send(self, request, **options):
        self.requested.append(request.url)
        content, status, headers = self.files.get(request.url, (b"", 404, {}))
        answer = requests.Response()
        answer.status_code, answer.url, answer.request = status, request.url, request
        answer.headers = CaseInsensitiveDict(headers)
        answer.raw = io.BytesIO(content) if isinstance(content, bytes) else content
        return answer


@pytest.fixture
def servers(monkeypatch):
    fake = Servers()
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", fake.send)
    return fake
