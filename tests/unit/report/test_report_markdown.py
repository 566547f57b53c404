import load_samples
import pytest
import report_samples as samples

from controller.report import render

STORIES = (*samples.STORIES, *load_samples.STORIES)


def test_the_heading_holds_the_verdict():
    assert render(samples.passing(), "markdown").startswith("## ✅ checkout: pass\n")
    assert render(samples.failing(), "markdown").startswith("## ❌ api: fail\n")
    assert render(samples.invalid(), "markdown").startswith("## ⚠️ checkout: invalid\n")


def test_pipes_backticks_tags_and_mentions_are_only_text():
    text = render(samples.report(None, name="a|b`c`<img src=x> @team #12 [x](y)"), "markdown")

    assert text.splitlines()[0] == ("## ⚪ a\\|b\\`c\\`&lt;img src=x&gt; @\u200bteam #\u200b12 \\[x\\](y): none")


@pytest.mark.parametrize("story", [*STORIES, samples.large], ids=lambda story: story.__name__)
def test_every_row_of_a_table_has_as_many_cells_as_its_header(story):
    width = 0
    for line in render(story(), "markdown").splitlines():
        cells = line.replace(r"\|", "").count("|") if line.startswith("|") else 0
        assert width in (0, cells) or not cells
        width = cells


def test_the_figures_stand_in_tables():
    text = render(samples.passing(), "markdown")

    assert "| ✅ | http-search/error-rate &lt;= 0.01 | 0.004 | +0.006 (60%) | 3,000 |" in text
    assert "| search | 3,000 | 12 (0.4%) | 100 of 100 | 24.24 | 80.49 | 167.6 | 191.5 |" in text
    assert "- **warning** `one-remote-address`: All 8 connections" in text


def test_twenty_endpoints_still_fit_a_comment():
    assert len(render(samples.large(), "markdown")) < 10_000


def test_an_interrupted_experiment_is_said_to_be_partial():
    assert "**Partial: the experiment was interrupted.**" in render(samples.interrupted(), "markdown")
