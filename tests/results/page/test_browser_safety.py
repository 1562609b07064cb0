"""The run's page in a real browser: names that mean harm, requests, and fragments made to do harm."""

import base64
import json

import pytest
from helpers.copied_runs import open_page as _open
from helpers.copied_runs import run_of as _run_of
from helpers.shown_page import IS_SHOWN

from gan2shape_jax.results import Row, write_page

pytestmark = pytest.mark.browser

_NASTY = (
    "<script>window.harm=1</script>",
    "</script><script>window.harm=2</script>",
    '"><img src=x onerror="window.harm=3">',
    "' onfocus='window.harm=4' autofocus='",
    "</noscript><svg onload=window.harm=5>",
    "<!-- <script>",
    "]]></style><style>*{display:none}</style>",
    "two\nlines\u2028and\u2029more \u202egnp",
    "{{three}} ${window.harm=6} \\u003cscript>",
    "javascript:window.harm=7",
    "50% & more #1?x=2",
    "名前 ünïcode",
    "\ud800",
)


def test_hostile_names_and_messages_are_nothing_but_text(browser, source, tmp_path):
    rows = _run_of(tmp_path, source, ["<script>window.harm=0<", "x y'\"&"])
    trust = {"category": 0.5, "verdict": _NASTY[0] + _NASTY[1] + _NASTY[2], "grade": "doubt"}
    rows += [Row(name, f"failed: {name}", {"trust": trust}) for name in _NASTY]
    write_page(tmp_path, rows, title=_NASTY[1])
    _open(browser, tmp_path / "index.html")
    for k in range(len(rows)):
        browser.evaluate(f"document.querySelector('#cards li[data-index=\"{k}\"] a').click()")
        browser.wait(IS_SHOWN.format(k))
    names = browser.evaluate("Array.from(document.querySelectorAll('#cards .name'), e => e.textContent)")
    assert len(names) == len(rows) and names[2:8] == list(_NASTY[:6])
    assert names[9] == "two\\nlines\\u2028and\\u2029more \\u202egnp"
    assert browser.evaluate("document.querySelectorAll('#rows tr').length") == len(rows)
    assert browser.evaluate("document.scripts.length") == 2 + _data_blocks(browser)
    assert browser.evaluate("typeof window.harm") == "undefined"
    assert browser.evaluate("document.title").endswith(_NASTY[1])
    assert trust["verdict"] in browser.evaluate("document.getElementById('verdict').textContent")
    assert browser.complaints() == []


def _data_blocks(browser) -> int:
    return browser.evaluate(
        'document.querySelectorAll(\'script[type="application/json"], script[type="text/plain"]\').length'
    )


def test_an_address_leads_to_its_image_whatever_it_is_called(browser, source, tmp_path):
    rows = _run_of(tmp_path, source, ["a b", "50% & #1"]) + [Row("c", "failed: x")]
    write_page(tmp_path, rows)
    for k, row in enumerate(rows):
        browser.open("about:blank")
        browser.open((tmp_path / "index.html").as_uri() + "#at-" + row.name.replace("%", "%25").replace("#", "%23"))
        browser.wait(IS_SHOWN.format(k))


def test_nothing_leaves_the_page_and_nothing_could(browser, source, tmp_path):
    write_page(tmp_path, _run_of(tmp_path, source, ["a", "b"]))
    _open(browser, tmp_path / "index.html")
    browser.evaluate("document.querySelector('#cards li[data-index=\"1\"] a').click()")
    browser.wait(IS_SHOWN.format(1))
    asked = [address for address in browser.requests() if not address.startswith("data:")]
    assert asked == [(tmp_path / "index.html").as_uri()]
    assert browser.complaints() == []
    # And if somebody had smuggled in a script: the policy stops it and whatever it would ask for.
    refused = """(async () => {
      const told = [];
      document.addEventListener('securitypolicyviolation', e => told.push(e.effectiveDirective));
      const s = document.createElement('script'); s.textContent = 'window.harm = 1'; document.body.append(s);
      const i = new Image(); i.src = 'http://localhost:9/x.png'; document.body.append(i);
      const l = document.createElement('link'); l.rel = 'stylesheet'; l.href = 'http://localhost:9/x.css';
      document.head.append(l);
      const near = new Image(); near.src = 'results/a/input.png'; document.body.append(near);
      const f = await fetch('http://localhost:9/').then(() => 'sent', () => 'refused');
      try { new WebSocket('ws://localhost:9/'); } catch (e) { told.push('websocket ' + e.name); }
      await new Promise(d => setTimeout(d, 300));
      return [f, typeof window.harm, told.sort()];
    })()"""
    fetched, harm, told = browser.evaluate(refused)
    assert fetched == "refused" and harm == "undefined"
    assert {"connect-src", "img-src", "script-src-elem", "style-src-elem"} <= set(told) and told.count("img-src") == 2
    reached = [e for e in browser.events if e.get("method") == "Network.responseReceived"]
    assert not [e for e in reached if e["params"]["response"]["url"].startswith(("http", "ws"))]


@pytest.mark.parametrize(
    "harm",
    [
        {"size": 10**6},
        {"size": -1},
        {"depth": "!!!"},
        {"depth": base64.b64encode(b"no stream").decode()},
        {"inside": None},
        {"albedo": {"kind": "svg+xml", "data": base64.b64encode(b"<svg onload='window.harm=1'/>").decode()}},
        {"albedo": {"kind": "png", "data": "http://localhost:9/x.png"}},
        {"view": "text", "light": []},
    ],
    ids=lambda harm: "-".join(harm),
)
def test_a_fragment_made_to_do_harm_spoils_only_its_own_image(browser, source, tmp_path, harm):
    rows = _run_of(tmp_path, source, ["bad", "good"])
    path = tmp_path / "results" / "bad" / "page.jsonl"
    card, model, *_ = path.read_text().splitlines()
    path.write_text("\n".join([card, json.dumps(json.loads(model) | harm), "{}", "{}"]) + "\n")
    write_page(tmp_path, rows)
    _open(browser, tmp_path / "index.html")
    assert browser.evaluate("typeof window.harm") == "undefined"
    assert "cannot be read" in browser.evaluate("document.getElementById('without').textContent")
    browser.evaluate("document.querySelector('#cards li[data-index=\"1\"] a').click()")
    browser.wait(IS_SHOWN.format(1))
    assert not browser.evaluate("document.getElementById('work').hidden")
    asked = [address for address in browser.requests() if not address.startswith(("data:", "file:"))]
    assert asked == []
