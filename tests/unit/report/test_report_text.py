import load_samples
import pytest
import report_samples as samples

from controller.report import render
from controller.report.document import outcome

STORIES = (*samples.STORIES, *load_samples.STORIES)


@pytest.mark.parametrize("story", [*STORIES, samples.large], ids=lambda story: story.__name__)
def test_the_last_line_is_the_verdict(story):
    text = render(story(), "text")

    assert text.endswith(f"\nverdict: {outcome(story())}\n")


def test_iter8s_sections_come_in_iter8s_order_after_the_verdict():
    text = render(samples.passing(), "text")

    places = [
        text.index(part)
        for part in (
            "\nVerdict: pass\n",
            "\nExperiment summary:\n*******************\n\n  Experiment completed: true\n  No task failures: true\n",
            "\nWhether or not service level objectives (SLOs) are satisfied:\n",
            "\nLatest observed values for metrics:\n",
        )
    ]
    assert places == sorted(places)
    assert "  SLO Conditions                     | Value | Margin        | Satisfied\n" in text


def test_a_small_error_rate_does_not_print_as_zero():
    text = render(samples.passing(), "text")

    assert "http-search/error-rate           | 0.004\n" in text
    assert "0.00\n" not in text
    assert "http-home/error-count            | 0\n" in text


def test_an_undecided_slo_says_so_and_why():
    text = render(samples.invalid(), "text")

    assert "http/latency-p99 (msec) <= 50 | 31.2  | +18.8 (37.6%) | undecided" in text
    assert "- http/latency-p99 (msec) <= 50: undecided: 350 requests are unaccounted for\n" in text


def test_a_value_among_requests_that_were_cut_off_is_marked_as_a_lower_bound():
    text = render(samples.failing(), "text")

    assert "http/latency-p99.9 (msec) <= 500 | ≥ 3000" in text
    assert "http/latency-max (msec)   | ≥ " in text
    assert "http/latency-p50 (msec)   | 138.5" in text


def test_errors_are_counted_by_class_and_status():
    text = render(samples.failing(), "text")

    assert "http GET http://127.0.0.1:8000/: 400 of 3000 requests (13.3%)" in text
    assert "class first-byte-timeout | 60       | 2%" in text
    assert "status 503               | 310      | 10.3%" in text


def test_an_interrupted_experiment_is_said_to_be_partial():
    assert "PARTIAL: the experiment was interrupted" in render(samples.interrupted(), "text")


def test_an_experiment_that_has_not_run_says_so():
    text = render(samples.not_run(), "text")

    assert "The experiment has not run yet." in text
    assert "Experiment summary" not in text


def test_the_rate_of_closed_load_is_at_least_what_was_made():
    assert "| closed | -       | ≥ 1374" in render(samples.closed(), "text")


def test_a_metric_without_a_value_is_unavailable():
    assert "http/error-rate          | unavailable" in render(samples.empty(), "text")


def test_two_versions_have_a_column_each_and_the_best_is_named():
    text = render(samples.two_versions(), "text")

    assert "  Metric                   | v1 | v2 (candidate) | Best" in text
    assert "http/latency-mean (msec) | 9  | 7              | v2 (candidate)" in text


def test_eighty_columns_hold_the_report_of_short_names():
    assert max(map(len, render(samples.passing(), "text").splitlines())) <= 80


def test_no_control_character_reaches_a_terminal():
    text = render(samples.report(None, name="x"), "text") + render(samples.failing(), "text")

    assert "\x1b" not in text
