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
