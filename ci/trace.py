"""Checks traces against the documentation of the trace-event format ("Trace Event Format", Google), as far as
these traces use it. With --perfetto it asks Perfetto's trace processor what it has read."""

import json
import sys
from collections import defaultdict

NUMBER = (int, float)


def fail(message, event=None):
    sys.exit(f"{message}: {event}")


def unique(pairs):
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        fail("a key stands twice", pairs)
    return dict(pairs)


def check(path):
    with open(path, encoding="utf-8") as file:
        trace = json.load(file, object_pairs_hook=unique, parse_constant=lambda name: fail(f"no JSON: {name}"))
    if trace["displayTimeUnit"] not in ("ms", "ns"):
        fail("displayTimeUnit", trace["displayTimeUnit"])
    slices, flows, names = defaultdict(list), defaultdict(list), {}
    counts = defaultdict(int)
    for event in trace["traceEvents"]:
        kind = event["ph"]
        counts[kind] += 1
        if not isinstance(event["pid"], int) or not isinstance(event["name"], str):
            fail("pid or name", event)
        if not isinstance(event.get("args", {}), dict):
            fail("args", event)
        if kind == "M":
            if event["name"] not in ("process_name", "thread_name", "thread_sort_index"):
                fail("metadata", event)
            if event["name"] == "thread_name":
                names[event["tid"]] = event["args"]["name"]
            continue
        if not isinstance(event["tid"], int) or not isinstance(event["ts"], NUMBER) or event["ts"] < 0:
            fail("tid or ts", event)
        if not isinstance(event["cat"], str):
            fail("cat", event)
        if kind == "X":
            if not isinstance(event["dur"], NUMBER) or event["dur"] < 0:
                fail("dur", event)
            slices[event["tid"]].append((round(event["ts"] * 1000), round((event["ts"] + event["dur"]) * 1000)))
        elif kind == "i":
            if event["s"] not in ("g", "p", "t"):
                fail("scope of an instant", event)
        elif kind in "sf":
            if kind == "f" and event["bp"] != "e":
                fail("binding point", event)
            flows[event["cat"], event["name"], event["id"]].append(event)
        else:
            fail("kind", event)
    for track, all in slices.items():
        all.sort()
        if track not in names:
            fail("a track without a name", track)
        for (_, end), (begin, _) in zip(all, all[1:]):
            if begin < end:
                fail(f"slices overlap on {names[track]}", (begin, end))
    for flow in flows.values():
        if [event["ph"] for event in sorted(flow, key=lambda event: "sf".index(event["ph"]))] != ["s", "f"]:
            fail("a flow without both ends", flow)
        for event in flow:
            at = round(event["ts"] * 1000)
            if not any(begin <= at <= end for begin, end in slices[event["tid"]]):
                fail("a flow outside of all slices", event)
    if not flows or counts["X"] < 10:
        fail("hardly anything was recorded", dict(counts))
    print(f"{path}: {dict(counts)}, tracks {sorted(names.values())}")


def ask_perfetto(path):
    from perfetto.trace_processor import TraceProcessor

    with TraceProcessor(trace=path) as processor:
        one = lambda query: next(iter(processor.query(query))).n
        with open(path, encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
        count = lambda kind: sum(event["ph"] == kind for event in events)
        if one("select count(*) as n from slice where dur >= 0") < count("X"):
            fail("slices are missing", path)
        if one("select count(*) as n from flow") != count("s"):
            fail("flows are missing", path)
        errors = list(processor.query("select name, value from stats where severity = 'error' and value > 0"))
        if errors:
            fail("perfetto reports errors", [(error.name, error.value) for error in errors])
        print(f"{path}: perfetto has read all slices and flows")


arguments = sys.argv[1:]
for path in arguments[arguments[:1] == ["--perfetto"] :]:
    (ask_perfetto if arguments[0] == "--perfetto" else check)(path)
