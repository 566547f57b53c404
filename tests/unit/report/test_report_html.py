import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import load_samples
import pytest
import report_samples as samples

from controller.report import render

STORIES = (*samples.STORIES, *load_samples.STORIES)

SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)


class Page(HTMLParser):
    """What a browser would see of a page: its elements, and whether they are closed in order."""

    VOID = ("meta", "link", "br", "wbr")

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.open = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def pages():
    return {story.__name__: render(story(), "html") for story in (*STORIES, samples.large)}


def test_nothing_in_a_page_asks_a_server_for_anything(pages):
    for page in pages.values():
        for tag, attributes in Page(page).elements:
            assert tag not in ("img", "iframe", "object", "embed", "audio", "video", "base", "form")
            assert "src" not in attributes
            assert attributes.get("href", "#").startswith(("#", "data:"))
        assert not re.search(r"url\(|@import", SCRIPT.sub("", page))


def test_the_policy_allows_the_pages_own_scripts_and_nothing_else(pages):
    page = pages["passing"]
    policy = next(dict(attributes) for tag, attributes in Page(page).elements if "http-equiv" in attributes)["content"]
    scripts = [body for attributes, body in SCRIPT.findall(page) if "application/json" not in attributes]

    hashes = [base64.b64encode(hashlib.sha256(body.encode()).digest()).decode() for body in scripts]
    assert len(scripts) == 2
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    assert f"script-src {allowed};" in policy
    assert policy.startswith("default-src 'none';")


def test_every_element_is_closed(pages):
    for page in pages.values():
        assert Page(page).open == []


def test_ids_are_unique_and_links_lead_to_one(pages):
    for page in pages.values():
        elements = Page(page).elements
        ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
        links = [attributes["href"][1:] for tag, attributes in elements if tag == "a"]
        assert len(ids) == len(set(ids))
        assert set(links) <= set(ids)
        assert {attributes["aria-labelledby"] for _, attributes in elements if "aria-labelledby" in attributes} <= set(
            ids
        )


def test_markup_in_names_and_bodies_is_text(pages):
    for story in ("failing", "large"):
        for attributes, body in SCRIPT.findall(pages[story]):
            assert attributes in ("", ' type="application/json" id="figures"')
            assert "alert(" not in body or attributes == ""
    assert "&lt;script&gt;alert(&#39;boo&#39;)&lt;/script&gt;service unavailable" in pages["failing"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages["large"]
    assert "<script>alert" not in pages["large"] + pages["failing"]


def test_each_chart_has_a_box_a_name_and_a_summary(pages):
    page = pages["passing"]
    boxes = [attributes for _, attributes in Page(page).elements if attributes.get("class") == "plot"]
    figures = json.loads(re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)[1])

    assert [box["id"] for box in boxes] == [figure["id"] for figure in figures]
    assert len(figures) == 10
    assert all(box["role"] == "img" and len(box["aria-label"]) > 30 for box in boxes)


def test_header_cells_say_what_they_head(pages):
    for page in pages.values():
        assert all(attributes.get("scope") in ("col", "row") for tag, attributes in Page(page).elements if tag == "th")


def test_the_verdict_is_said_in_words(pages):
    assert re.search(r"Verdict:</span> fail</h2>", pages["failing"])
    assert "<strong>Partial.</strong>" in pages["interrupted"]
    assert "The experiment has not run yet." in pages["not_run"]


def test_a_page_without_charts_does_not_carry_plotly(pages):
    assert len(pages["not_run"]) < 50_000


def test_credentials_in_the_experiment_are_not_shown(pages):
    assert "s3cr3t-value" not in pages["passing"]
    assert "(redacted)" in pages["passing"]
