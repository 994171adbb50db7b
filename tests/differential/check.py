"""Compares the built-in score server with music21, an independent implementation.

usage: check.py MAINSTAYD

D1 key: Krumhansl-Schmuckler by music21, by (pitch class, mode) and correlation.
D2 chords: slices of its chordify; roots and names of triads and seventh chords.
D3 transposition: pitches always, spelling for named intervals; the key moves, r stays.
D4 round trip: our MusicXML through music21 and back: same (part, offset, length, pitch).
D5 ABC: music21's own ABC reader on the same source, where that reader follows ABC 2.1.
"""

import copy
import json
import subprocess
import sys
import warnings
from fractions import Fraction

warnings.filterwarnings("ignore")
from music21 import converter, corpus, interval, stream  # noqa: E402
from music21.musicxml.m21ToXml import GeneralObjectExporter  # noqa: E402

TOLERANCE = 1e-6
INTERVALS = ["M3", "-m2", "P5", "A4", "-M6", 4, -1, 7, 12]

# music21's names of pitch-class sets -> ours. It says "quality" major of a dominant seventh and
# diminished of a half-diminished one, so only its common names count.
QUALITIES = {
    "major triad": "major",
    "minor triad": "minor",
    "diminished triad": "diminished",
    "augmented triad": "augmented",
    "dominant seventh chord": "dominant-seventh",
    "major seventh chord": "major-seventh",
    "minor seventh chord": "minor-seventh",
    "half-diminished seventh chord": "half-diminished-seventh",
    "diminished seventh chord": "diminished-seventh",
    "minor-augmented tetrachord": "minor-major-seventh",
    "augmented major tetrachord": "augmented-major-seventh",
}

# Sources beside the built-in tunes: what those lack.
EXTRA = {
    "sevenths": "L:1/4\nM:4/4\nK:C\n"
    "[CEG_B] [CEGB] [C_EG_B] [C_E_G_B]|[B,DF_A] [C_EGB] [CE^GB] [EGc]|[CE^G] [B,DF] [CDE] [CG]|]\n",
    "layers": "M:4/4\nL:1/4\nK:Eb\nE2 B2 & EFGA & z4|G4-|G2 z2|]\n",
    "signs": "M:3/4\nL:1/8\nK:A\nABc def|[K:Fm]F2 A2 c2|[M:2/4]de fg|(5ABcde (3fga|]\n",
}

# Pieces music21 brings along: real music by real composers, read by both from music21's MusicXML.
# The last number is the correlation of the best key, also computed by hand.
CORPUS = {
    "bach/bwv66.6": ("F# minor", 165, 51, 0.815470892576),
    "bach/bwv269": ("G major", None, None, None),
    "mozart/k155/movement2": (None, None, None, None),
    "schoenberg/opus19/movement2": (None, None, None, None),
}

# Lists written by hand where music21's ABC reader departs from ABC 2.1 (inline keys and voices, Z
# rests, chord symbols): (part, offset, length, pitch).
BY_HAND = {
    "inline key": ("L:1/4\nM:4/4\nK:C\nF [K:G] F F [K:F] B|]\n",
                   "0 0 1 F4; 0 1 1 F#4; 0 2 1 F#4; 0 3 1 B-4"),
    "inline voices": ("L:1/4\nM:2/4\nK:C\n[V:a] CD|[V:b] EF|[V:a] G2|[V:b] A2|]\n",
                      "0 0 1 C4; 0 1 1 D4; 0 2 2 G4; 1 0 1 E4; 1 1 1 F4; 1 2 2 A4"),
    "measures of rest": ("L:1/4\nM:3/4\nK:C\nCDE|Z2|C3|]\n",
                         "0 0 1 C4; 0 1 1 D4; 0 2 1 E4; 0 9 3 C4"),
    "chord symbols": ("L:1/4\nM:2/4\nK:C\n\"Am\"C \"G7\"D|]\n", "0 0 1 C4; 0 1 1 D4"),
    "accidentals last the bar in all octaves": ("L:1/4\nM:4/4\nK:C\n^F f =f F|F4|]\n",
                   "0 0 1 F#4; 0 1 1 F#5; 0 2 1 F5; 0 3 1 F4; 0 4 4 F4"),
    "a tie carries its accidental": ("L:1/4\nM:2/4\nK:C\n^F2-|F F|]\n",
                                     "0 0 3 F#4; 0 3 1 F4"),
    "tuplets and broken rhythm": ("L:1/8\nM:2/4\nK:C\n(3CDE F>G|(3:2:2C2D E<<F|]\n",
        "0 0 1/3 C4; 0 1/3 1/3 D4; 0 2/3 1/3 E4; 0 1 3/4 F4; 0 7/4 1/4 G4; "
        "0 2 2/3 C4; 0 8/3 1/3 D4; 0 3 1/8 E4; 0 25/8 7/8 F4"),
}


class Server:
    """The score server as a child process, spoken to in the legacy era."""

    def __init__(self, binary):
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([binary, "score"], stdin=pipe, stdout=pipe)
        self.next_id = 0
        self.request("initialize", {"protocolVersion": "2025-11-25", "capabilities": {},
                                    "clientInfo": {"name": "differential", "version": "1"}})

    def request(self, method, params):
        self.next_id += 1
        frame = {"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params}
        self.process.stdin.write(json.dumps(frame).encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert answer["id"] == self.next_id, answer
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def call(self, name, **arguments):
        result = self.request("tools/call", {"name": name, "arguments": arguments})
        if result["isError"]:
            raise RuntimeError(f"{name}: {result['content'][0]['text']}")
        return result["structuredContent"]

    def musicxml(self, score_id):
        return self.call("export_score", score_id=score_id)["content"]

    def close(self):
        self.process.stdin.close()
        return self.process.wait(timeout=10)


def parse(musicxml):
    return converter.parseData(musicxml, format="musicxml")


def notes(score, spelled=True, joined=True):
    """Every sounding note as (part, offset, length, pitch), ties joined, graces left out."""
    found = []
    # music21's ABC reader adds a part without notes for each V: line of a header.
    parts = [part for part in score.parts if part.flatten().notes]
    for index, part in enumerate(parts):
        whole = []
        open_ties = {}
        flat = part.flatten().notes
        for element in sorted(flat, key=lambda one: Fraction(one.offset)):
            if element.duration.isGrace:
                continue
            start, length = Fraction(element.offset), Fraction(element.quarterLength)
            members = element.notes if element.isChord else [element]
            for note in members:
                pitch = note.pitch.nameWithOctave if spelled else note.pitch.midi
                key = (pitch, start)
                tie = note.tie.type if note.tie and joined else None
                if tie in ("stop", "continue") and key in open_ties:
                    entry = open_ties.pop(key)
                    entry[2] += length
                else:
                    entry = [index, start, length, pitch]
                    whole.append(entry)
                if tie in ("start", "continue"):
                    open_ties[(pitch, start + length)] = entry
        found += whole
    return sorted(tuple(map(str, entry)) for entry in found)


def theirs_by_key(score):
    """music21's correlation of every key it knows, by (pitch class, mode)."""
    best = score.analyze("key.krumhanslschmuckler")
    everything = [best, *best.alternateInterpretations]
    table = {(key.tonic.pitchClass, key.mode): key.correlationCoefficient for key in everything}
    return (best.tonic.pitchClass, best.mode), table


NAMES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def pitch_class(name):
    return (NAMES[name[0]] + name.count("#") - name[1:].count("b")) % 12


def our_pitch(name):
    """Our spelling of flats is b, music21's is -."""
    return name[0] + name[1:].replace("b", "-")


class Report:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, name, good, detail=""):
        if good:
            self.passed += 1
        else:
            self.failed += 1
        print(f"{'ok  ' if good else 'FAIL'} {name}{'' if good or not detail else ': ' + detail}")

    def same(self, name, ours, theirs):
        gap = ""
        if ours != theirs:
            pairs = [(a, b) for a, b in zip(ours, theirs) if a != b][:3]
            gap = f"{len(ours)} against {len(theirs)}, first differences (ours, theirs): {pairs}"
        self.check(f"{name} ({len(theirs)})", bool(theirs) and ours == theirs, gap)


def check_key(report, server, name, score):
    answer = server.call("key_analysis", score_id=name)
    best, table = theirs_by_key(score)
    ours = (pitch_class(answer["tonic"]), answer["mode"])
    ordered = sorted(table.values(), reverse=True)
    exact_tie = ordered[0] - ordered[1] < TOLERANCE
    report.check(f"D1 {name}: best key {answer['key']}", ours == best or exact_tie, f"theirs is {best}")
    entries = [answer, *answer["alternatives"]]
    for entry in entries:
        theirs = table[(pitch_class(entry["tonic"]), entry["mode"])]
        gap = abs(entry["confidence"] - theirs)
        report.check(f"D1 {name}: r of {entry['key']}", gap < TOLERANCE,
                     f"{entry['confidence']} against {theirs}")
    report.check(f"D1 {name}: nothing better is left out",
                 all(abs(ours["confidence"] - theirs) < TOLERANCE
                     for ours, theirs in zip(entries, ordered)))
    return answer


def check_chords(report, server, name, score):
    answer = server.call("chord_analysis", score_id=name)
    ours = answer["chord_progression"]
    # chordify lets grace notes sound through the slice they stand before.
    plain = copy.deepcopy(score)
    for element in list(plain.recurse().notes):
        if element.duration.isGrace:
            plain.remove(element, recurse=True)
    theirs = plain.chordify().flatten().notes
    report.check(f"D2 {name}: nothing truncated", not answer["truncated"])
    report.same(f"D2 {name}: slices",
                [(c["offset"], c["duration"], sorted(our_pitch(p) for p in c["pitches"])) for c in ours],
                [(float(c.offset), float(c.quarterLength),
                  sorted({p.nameWithOctave for p in c.pitches})) for c in theirs])
    named = [(a, b) for a, b in zip(ours, theirs) if b.commonName in QUALITIES]
    if named:
        report.same(f"D2 {name}: roots and qualities",
                    [(a["offset"], our_pitch(a["root"] or "?"), a["quality"]) for a, _ in named],
                    [(float(b.offset), b.root().name, QUALITIES[b.commonName]) for _, b in named])
    known = set(QUALITIES.values())
    # The other way round: what we name, music21 must name too. Where spelling and sound differ we go
    # by the sound; it says "enharmonic equivalent to ..." or names an augmented sixth.
    odd = [(a, b.commonName) for a, b in zip(ours, theirs)
           if a["quality"] in known and b.commonName not in QUALITIES
           and not b.commonName.startswith("enharmonic")
           and "augmented sixth" not in b.commonName]
    report.check(f"D2 {name}: no chord is named that has no name", not odd, str(odd[:2]))


def check_transposition(report, server, name, score, key):
    for index, by in enumerate(INTERVALS):
        moved = f"{name}-moved-{index}"
        try:
            server.call("transpose", score_id=name, interval=by, result_id=moved)
        except RuntimeError as error:
            sharps = [key.sharps for key in score.transpose(by).recurse().getElementsByClass("KeySignature")]
            report.check(f"D3 {name} by {by}: refused, the key cannot be written",
                         any(abs(count) > 7 for count in sharps), str(error))
            continue
        ours = parse(server.musicxml(moved))
        named = isinstance(by, str)
        theirs = score.transpose(by)
        report.same(f"D3 {name} by {by}: {'spelled ' if named else ''}notes",
                    notes(ours, named), notes(theirs, named))
        answer = server.call("key_analysis", score_id=moved)
        semitones = interval.Interval(by).semitones
        report.check(f"D3 {name} by {by}: the key moves and r stays",
                     (pitch_class(answer["tonic"]), answer["mode"])
                     == ((pitch_class(key["tonic"]) + semitones) % 12, key["mode"])
                     and abs(answer["confidence"] - key["confidence"]) < TOLERANCE)
        back = by[1:] if named and by.startswith("-") else f"-{by}" if named else -by
        server.call("transpose", score_id=moved, interval=back, result_id=f"{moved}-back")
        again = parse(server.musicxml(f"{moved}-back"))
        report.same(f"D3 {name} by {by} and back", notes(again, named), notes(score, named))


def check_round_trip(report, server, name, score):
    their_musicxml = GeneralObjectExporter(score).parse().decode()
    # music21 writes a DOCTYPE; it must be skipped.
    report.check(f"D4 {name}: music21's file has a DOCTYPE", "<!DOCTYPE" in their_musicxml)
    server.call("import_score", score_id=f"{name}-back", source=their_musicxml, source_type="musicxml")
    report.same(f"D4 {name}: notes after music21's MusicXML",
                notes(parse(server.musicxml(f"{name}-back"))), notes(score))
    abc = server.call("export_score", score_id=name, format="abc")["content"]
    server.call("import_score", score_id=f"{name}-abc", source=abc, source_type="abc")
    report.same(f"D4 {name}: notes after our ABC",
                notes(parse(server.musicxml(f"{name}-abc"))), notes(score))
    info = server.call("score_info", score_id=name)
    count = sum(len(e.pitches) for e in score.flatten().notes if not e.duration.isGrace)
    report.check(f"D4 {name}: counts of parts, notes, quarters",
                 (info["num_parts"], info["num_notes"], info["duration_quarters"])
                 == (len(score.parts), count, float(score.duration.quarterLength)),
                 f"{info} against {count} notes, {score.duration.quarterLength} quarters")
    return abc


def check_their_abc(report, name, abc, score):
    """music21's ABC reader on the ABC we write: `%abc-2.1`, no inline fields, no Z."""
    theirs = converter.parseData(abc, format="abc")
    if not isinstance(theirs, stream.Score) or not theirs.parts:
        report.check(f"D5 {name}: music21 reads our ABC", False)
        return
    # That reader drops the ties of chords.
    joined = not any(chord.tie for chord in score.recurse().getElementsByClass("Chord"))
    report.same(f"D5 {name}: notes by music21's ABC reader",
                notes(theirs, joined=joined), notes(score, joined=joined))


def check_corpus(report, server, name, key_name, note_count, slice_count, correlation):
    source = GeneralObjectExporter(corpus.parse(name)).parse().decode()
    score = parse(source)
    server.call("import_score", score_id=name, source=source)
    # music21 makes a part of each staff of a piano, MusicXML and we do not: leave the part out.
    ours, theirs = (sorted(entry[1:] for entry in notes(one))
                    for one in (parse(server.musicxml(name)), score))
    report.same(f"D4 {name}: notes", ours, theirs)
    key = check_key(report, server, name, score)
    check_chords(report, server, name, score)
    if key_name:
        report.check(f"D1 {name}: {key['key']} is {key_name}", key["key"] == key_name)
    if note_count:
        found = server.call("score_info", score_id=name)["num_notes"]
        report.check(f"D4 {name}: {found} notes are {note_count}", found == note_count)
        found = server.call("chord_analysis", score_id=name)["total_chords"]
        report.check(f"D2 {name}: {found} slices are {slice_count}", found == slice_count)
        report.check(f"D1 {name}: r is the one computed by hand",
                     abs(key["confidence"] - correlation) < 1e-9, str(key["confidence"]))


def main(binary):
    report = Report()
    server = Server(binary)
    try:
        tools = server.request("tools/list", {})["tools"]
        source = next(t for t in tools if t["name"] == "import_score")["inputSchema"]["properties"]["source"]
        tunes = source["description"].split(": ")[-1].split(", ")
        report.check(f"{len(tunes)} built-in tunes are offered", len(tunes) >= 6)
        sources = {name: ("corpus", name) for name in tunes}
        sources |= {name: ("abc", abc) for name, abc in EXTRA.items()}
        for name, (kind, text) in sources.items():
            server.call("import_score", score_id=name, source=text, source_type=kind)
            score = parse(server.musicxml(name))
            key = check_key(report, server, name, score)
            check_chords(report, server, name, score)
            check_transposition(report, server, name, score, key)
            abc = check_round_trip(report, server, name, score)
            if kind == "corpus":
                check_their_abc(report, name, abc, score)
        for name, facts in CORPUS.items():
            check_corpus(report, server, name, *facts)
        for name, (abc, expected) in BY_HAND.items():
            server.call("import_score", score_id=name, source=abc, source_type="abc")
            found = [" ".join(entry) for entry in notes(parse(server.musicxml(name)))]
            report.same(f"D5 by hand, {name}", found, sorted(expected.split("; ")))
    finally:
        status = server.close()
    report.check("the server ends with its input", status == 0, f"exit status {status}")
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: check.py MAINSTAYD")
    sys.exit(main(sys.argv[1]))
