"""Score tables say what was found, no more."""

import math

from vlm3.pages import boards

SAME = {"spread": 0.0, "spread_of_truth": 0.34, "most": "0.30 m", "share": 1.0, "collapsed": True}
OPEN = SAME | {"spread": 5.0, "share": 0.1, "collapsed": False}
FOUND = {
    "constant": {"auc_30": 0.05, "turn_deg": 20.0, "parsed": 1.0, "above_guessing": {}}
    | {"collapse": {kind: SAME for kind in ("angle", "distance", "rotation")}},
    "random": {"auc_30": 0.0, "turn_deg": 70.0, "parsed": 0.01, "collapse": {}}
    | {"above_guessing": {"auc_30": {"than": "constant", "by": math.nan}}},
    "tiny": {"auc_30": 0.1, "turn_deg": 18.0, "parsed": 1.0}
    | {"above_guessing": {"auc_30": {"than": "constant", "by": 0.05, "low": -0.01, "high": 0.11}}}
    | {"collapse": {"angle": OPEN, "distance": SAME}},
}


def test_a_row_tells_scores_what_is_above_guessing_and_what_is_said_to_all():
    blind, untaught, tiny = boards.rows(FOUND, {"auc_30": 2, "turn_deg": 0})
    assert tiny == {
        "model": "tiny",
        "auc_30": "0.10",
        "turn_deg": "18",
        "auc_30, better than constant by": "+0.05 (-0.01 to +0.11)",
        "answered": "100%",
        "one answer": "distance: 0.30 m",
    }
    assert blind["auc_30, better than constant by"] == ""
    assert blind["one answer"] == "in 3 kinds"
    assert (untaught["turn_deg"], untaught["auc_30, better than constant by"]) == ("none", "")
    assert blind.keys() == untaught.keys() == tiny.keys()


def test_spreads_stand_beside_those_of_the_truth():
    angle, distance = boards.spreads(FOUND["tiny"])
    assert (angle["spread of answers"], angle["of the truth"], angle[""]) == ("5", "0.34", "")
    assert (distance["share"], distance[""]) == ("100%", "one answer")


OF_PAIRS = {
    "tiny": {
        "epe_px_all": 16.0,
        "pck": 0.5,
        "above_guessing": {"epe_px_all": {"than": "place", "by": 44.0, "low": 40.0}},
    },
    "mbr:tiny": {"epe_px_all": 14.0, "pck": 0.5},
    "shuffled:tiny": {"epe_px_all": 82.0, "pck": 0.2},
    "place": {"epe_px_all": 60.0, "pck": 0.1},
    "opencv": {"epe_px_all": 20.0, "pck": 0.4},
}


def test_an_aim_stands_beside_what_was_reached_and_says_in_which_decoding():
    wanted = {("pairs", "epe_px_all"): 15, ("pairs", "pck"): 0.6}
    low, high = boards.aims({"pairs": OF_PAIRS}, wanted)
    assert (low["aim"], low["tiny"], low["best blind"]) == ("15.0", "16.0", "60.0 (place)")
    assert (low["met by"], high["met by"]) == ("mbr:tiny", "missed")
    assert low["expert"] == ""  # nobody was asked
    assert low["lost with other images"] == "150%"  # 66 px of the 44 that it was better
    assert boards.met({"pairs": OF_PAIRS}, "pairs", "pck", 0.5) == ["tiny", "mbr:tiny"]


def test_who_is_not_surely_above_guessing_has_nothing_to_lose():
    above = {"epe_px_all": {"than": "opencv", "by": 1.0, "low": -4.0}}
    behind = OF_PAIRS | {"tiny": OF_PAIRS["tiny"] | {"above_guessing": above}}
    (row,) = boards.aims({"pairs": behind}, {("pairs", "epe_px_all"): 15})
    assert row["lost with other images"] == "not above"
    asked = {"pairs": "epe_px_all"}
    assert boards.unsure({"pairs": behind}, asked) == ["pairs"]
    assert boards.unsure({"pairs": OF_PAIRS}, asked) == []


def test_tests_are_judged_in_words():
    above = OF_PAIRS["tiny"]["above_guessing"]["epe_px_all"] | {"low": -4.0}
    behind = {"pairs": OF_PAIRS | {"tiny": {"above_guessing": {"epe_px_all": above}}}}
    tests = {"office": {"pairs": OF_PAIRS}, "board": behind}
    asked = {"pairs": "epe_px_all"}
    assert boards.judged(tests, asked) == ("pairs of office", "pairs of board")
    assert boards.judged({"office": {"pairs": OF_PAIRS}}, asked) == ("pairs of office", "none")


def test_ends_have_a_row_for_the_model_the_best_blind_and_opencv():
    scores = {"pairs": "epe_px_all", "depth": "delta_1"}
    rows = boards.ends("far", {"pairs": OF_PAIRS}, scores)
    assert [row["pairs, epe_px_all"] for row in rows] == ["16.0", "60.0", "20.0"]
    assert {(row["scenes"], row["depth, delta_1"]) for row in rows} == {("far", "")}


def test_a_row_of_a_test_says_how_far_above_the_best_blind_the_model_is():
    above = {"epe_px_all": {"than": "place", "by": 44.0, "low": 40.0, "high": 48.0}}
    known = OF_PAIRS | {"tiny": OF_PAIRS["tiny"] | {"above_guessing": above}}
    asked = [("pairs", "epe_px_all"), ("depth", "delta_1")]
    (row,) = boards.on_tests({"office": {"pairs": known}}, asked)  # no depth in this test
    assert (row["test"], row["task"], row["tiny"]) == ("office", "pairs", "16.0")
    assert row["best blind"] == "60.0 (place)"
    assert row["above the best blind by"] == "+44.0 (+40.0 to +48.0)"
    assert (row["shuffled:tiny"], row["opencv"]) == ("82.0", "20.0")
