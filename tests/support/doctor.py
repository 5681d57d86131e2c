"""What tests of `headlong doctor` share: its findings, and a model to plant faults in."""
import json
import shutil

from support.cluster import MODEL


def checks(result):
    """Of the checks that did not go well: name -> (result, what was found, what to do)."""
    found = json.loads(result.out)
    assert result.code == (0 if found["ok"] else 1), result
    bad = [check for check in found["checks"] if check["result"] != "ok"]
    assert all(check["found"] and check["next"] for check in bad), bad
    assert found["ok"] == all(check["result"] != "fail" for check in bad)
    return {check["check"]: (check["result"], check["found"], check["next"]) for check in bad}


def doctor(sandbox, *args):
    return checks(sandbox.run("doctor", "-o", "json", *args))


def fails_at(found, check, *words):
    assert check in found, found
    result, cause, following = found[check]
    assert result == "fail", found
    for word in words:
        assert word in cause + " -> " + following, found[check]


def copy_model(folder):
    shutil.copytree(MODEL, folder)
    return folder
