#!/usr/bin/env python3
"""Which soundness test fails when a check of the verifier is missing?

Every check in the listed files is one *mutant*: the check is switched off, nothing else. All mutants are compiled at once:
in a copy of the working tree each condition is guarded by `mutation::on(K)`, which is false for the K in the environment
variable MUTANT. Then the soundness tests run once per mutant. A mutant that no test notices has survived.

    scripts/mutation/run.py [--target DIR] [--only PART] [--list] [--results FILE] [--write docs/protocol/mutation.md]

`--only` keeps the mutants whose file or condition contains PART. Exit status 1: a mutant survived that is not in EQUIVALENT.
Needs git, cargo and the crates in cargo's cache; takes about ten seconds per mutant after the build.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Files whose checks are switched off one by one, and the crate that `mutation` is in as they see it.
VERIFIER = ["inference", "lookups", "logup", "setup", "statement", "security", "key", "proof_file", "transcript", "commitment/verify"]
CIRCUIT = ["check/form", "check/order", "check/bounds", "check/coverage", "check/mod", "cost", "instance", "format"]
FILES = {f"verifier/src/{f}.rs": "mlc_circuit" for f in VERIFIER} | {f"circuit/src/{f}.rs": "crate" for f in CIRCUIT}

# Checks that are no `if condition { Err }`: (file, text, text with ON for the switch).
IRREGULAR = [
    ("verifier/src/transcript.rs", "if v < P {", "if !ON || v < P {"),
    ("verifier/src/transcript.rs", "        match self.proof.len() - self.at {\n            0 =>", "        match self.proof.len() - self.at {\n            _ if !ON => Ok(()),\n            0 =>"),
    ("verifier/src/statement.rs", "            if found == expected {\n                Ok(())\n            } else {\n                Err(StatementError::Count", "            if !ON || found == expected {\n                Ok(())\n            } else {\n                Err(StatementError::Count"),
    ("verifier/src/statement.rs", "            if found == expected {\n                Ok(())\n            } else {\n                Err(StatementError::Length", "            if !ON || found == expected {\n                Ok(())\n            } else {\n                Err(StatementError::Length"),
    ("verifier/src/statement.rs", "    match values.iter().position(|v| !(lo..=hi).contains(v)) {", "    match values.iter().position(|v| ON && !(lo..=hi).contains(v)) {"),
    ("verifier/src/inference.rs", "    statement.check(&instance)?;", "    if ON { statement.check(&instance)?; }"),
    ("verifier/src/inference.rs", "    Ok(channel.finish()?)", "    if ON { channel.finish()?; }\n    Ok(())"),
    ("verifier/src/inference.rs", "    verify_opening(channel, plan, &trees)?;", "    if ON { verify_opening(channel, plan, &trees)?; }"),
    ("verifier/src/setup.rs", "    channel.finish().map_err(VerifyError::from)?;", "    if ON { channel.finish().map_err(VerifyError::from)?; }"),
    ("verifier/src/setup.rs", "    verify_opening(channel, &schedule.opening, &trees)?;", "    if ON { verify_opening(channel, &schedule.opening, &trees)?; }"),
    ("verifier/src/setup.rs", "        params.check()?;", "        if ON { params.check()?; }"),
    ("verifier/src/security.rs", "        if self.term_bits <= 128 &&", "        if !ON || self.term_bits <= 128 &&"),
    ("verifier/src/security.rs", "        params.check()?;", "        if ON { params.check()?; }"),
    ("verifier/src/key.rs", "        check::check(&circuit)?;", "        if ON { check::check(&circuit)?; }"),
    ("verifier/src/key.rs", "        self.params.check()", "        (if ON { self.params.check() } else { Ok(()) })"),
    ("verifier/src/key.rs", "            (Some(root), true) => setup::verify(", "            (Some(_), true) if !ON => {}\n            (Some(root), true) => setup::verify("),
    ("verifier/src/key.rs", "            (None, false) if self.setup_proof.is_empty()", "            (None, false) if !ON || self.setup_proof.is_empty()"),
    ("verifier/src/key.rs", "            (Some(_), false) => {", "            (Some(_), false) if !ON => {}\n            (Some(_), false) => {"),
    ("verifier/src/key.rs", "            (None, true) => {", "            (None, true) if !ON => {}\n            (None, true) => {"),
    ("verifier/src/commitment/verify.rs", "    check_shapes(plan, trees)?;", "    if ON { check_shapes(plan, trees)?; }"),
    ("verifier/src/commitment/verify.rs", "        .position(|(t, p)| t.shape != p.shape ||", "        .position(|(t, p)| ON && t.shape != p.shape ||"),
    ("verifier/src/commitment/verify.rs", "t.row_coeffs.len() != t.shape.rows)", "ON && t.row_coeffs.len() != t.shape.rows)"),
    ("verifier/src/commitment/verify.rs", "    match claims.iter().position(|c| !c.holds(&clear)) {", "    match claims.iter().position(|c| ON && !c.holds(&clear)) {"),
    ("circuit/src/check/bounds.rs", "                        .filter(|&n| n <= 1 << 30)", "                        .filter(|&n| !ON || n <= 1 << 30)"),
    ("circuit/src/check/coverage.rs", "            .is_some_and(|t| rows(t) <= rows(s.table));", "            .is_some_and(|t| !ON || rows(t) <= rows(s.table));"),
    ("circuit/src/check/coverage.rs", "Left::Cells(cells) => place + 1 == cells.len(),", "Left::Cells(cells) => !ON || place + 1 == cells.len(),"),
    ("circuit/src/check/coverage.rs", "index.is_maximum(subtrahend) || index.is_private(subtrahend);", "ON && (index.is_maximum(subtrahend) || index.is_private(subtrahend));"),
    ("circuit/src/check/coverage.rs", "            Some(s) => Err(CheckError::Unused {", "            Some(_) if !ON => Ok(()),\n            Some(s) => Err(CheckError::Unused {"),
    ("circuit/src/check/coverage.rs", "    if factor.count_ones() != 1 ||", "    if (ON && factor.count_ones() != 1) ||"),
    ("circuit/src/check/coverage.rs", " masks.iter().any(|t| i64::from(t.coefficient) != factor)", " (ON && masks.iter().any(|t| i64::from(t.coefficient) != factor))"),
    ("circuit/src/check/coverage.rs", "    fits && ", "    (!ON || fits) && "),
    ("circuit/src/check/coverage.rs", "maximum.is_some_and(|t| c.tables[t as usize].rows() as i64 <= limit)", "(!ON || maximum.is_some_and(|t| c.tables[t as usize].rows() as i64 <= limit))"),
    ("circuit/src/check/coverage.rs", "bounds::below(c, e, &self.index, &self.rights, compared, limit)", "(!ON || bounds::below(c, e, &self.index, &self.rights, compared, limit))"),
    ("circuit/src/check/coverage.rs", "self.ranges.zero_from(s.table, limit as usize)", "(!ON || self.ranges.zero_from(s.table, limit as usize))"),
    ("circuit/src/check/coverage.rs", "self.e.segments[maximum as usize].ranged || readers", "!ON || self.e.segments[maximum as usize].ranged || readers"),
    ("circuit/src/check/coverage.rs", "    e.segments[n as usize].ranged\n        && q.products", "    (!ON || e.segments[n as usize].ranged)\n        && q.products"),
    ("circuit/src/check/coverage.rs", "        && q.constant == -1", "        && (!ON || q.constant == -1)"),
    ("circuit/src/check/coverage.rs", "        && r.read.coefficient == 1", "        && (!ON || r.read.coefficient == 1)"),
    ("circuit/src/check/coverage.rs", "ranges.is_indicator(s.table, column)", "(!ON || ranges.is_indicator(s.table, column))"),
    ("circuit/src/check/coverage.rs", "if g.signs == [true; 2] ||", "if (ON && g.signs == [true; 2]) ||"),
    ("circuit/src/check/coverage.rs", "g.times >= LIMIT {", "(ON && g.times >= LIMIT) {"),
    ("circuit/src/check/order.rs", "            _ => {\n                return Err(CheckError::Determined", "            [first, ..] if !ON => out.push(first),\n            _ => {\n                return Err(CheckError::Determined"),
    ("circuit/src/check/mod.rs", "    form::check(circuit)?;", "    if ON { form::check(circuit)?; }"),
    ("circuit/src/check/mod.rs", "    bounds::check(circuit)?;", "    if ON { bounds::check(circuit)?; }"),
    ("circuit/src/instance.rs", "        instance.check_cost()?;", "        if ON { instance.check_cost()?; }"),
]

# Mutants that no test can notice: (file, part of the text) → why.
EQUIVALENT = {
    ("verifier/src/lookups.rs", "!total.is_zero()"): "a claim reads a column: without columns there are no claims, and the total is an empty sum",
    ("circuit/src/check/coverage.rs", "!s.ranged && !index.read_whole"): "implied by the count that every maximum must have",
    ("circuit/src/instance.rs", "channel_cells > MAX_LEAVES"): "takes tables of 2^28 rows, a key of a quarter of a gigabyte: no test has one",
    ("circuit/src/instance.rs", "at > MAX_LEAVES"): "tensors of lookups beyond that are refused before: only tables beside exactly as many come here",
    ("circuit/src/check/coverage.rs", "s.table.is_none() && !self.index.is_subtrahend"): "such a digit has 31 bits for `bounds`, such a maximum no table for the site",
}

MODULE = """//! Switches for the mutation run.
extern crate std;
use std::sync::OnceLock;
/// Whether check `k` is in force.
pub fn on(k: u32) -> bool {
    static OFF: OnceLock<Option<u32>> = OnceLock::new();
    *OFF.get_or_init(|| std::env::var("MUTANT").ok().and_then(|v| v.parse().ok())) != Some(k)
}
"""


class Mutants:
    """The mutants so far: (file, line, text)."""

    def __init__(self):
        self.all = []

    def new(self, file, source, at, text):
        line = source.count("\n", 0, at) + 1
        self.all.append((file, line, " ".join(text.split())))
        return len(self.all) - 1


def instrument(file, source, krate, mutants):
    """The source with a switch in every check; code behind `#[cfg(test)]` is left alone."""
    end = source.find("#[cfg(test)]\nmod tests {")
    code, tests = (source, "") if end < 0 else (source[:end], source[end:])
    edits = []  # (start, end, new text)

    def switch(at, text):
        return f"{krate}::mutation::on({mutants.new(file, source, at, text)})"

    for name, old, new in IRREGULAR:
        if name == file:
            if code.count(old) < 1:
                sys.exit(f"{file}: no such check any more:\n{old}")
            at = code.index(old)
            edits.append((at, at + len(old), new.replace("ON", switch(at, old))))
    taken = [(a, b) for a, b, _ in edits]
    free = lambda a, b: all(b <= x or a >= y for x, y in taken)
    # if CONDITION { [return] Err(…
    for m in re.finditer(r"\bif ((?:[^{};]|\{ \.\. \}|\|[a-z_&]+\|)*?) \{\s*(?:let [^;]*;\s*)?(?:return )?Err\(", code):
        a, b = m.span(1)
        if not free(a, b):
            continue
        condition = m.group(1)
        on = switch(a, condition)
        edits.append((a, b, f"{on} && {condition}" if "let " in condition else f"{on} && ({condition})"))
    # require(CONDITION, name, what)
    for m in re.finditer(r"(?<!fn )\brequire\(\s*", code):
        text = re.split(r";|\n    }\n", code[m.end() :], maxsplit=1)[0]
        what = re.findall(r'"([^"]*)"', text)
        edits.append((m.end(), m.end(), f"!{switch(m.end(), what[-1] if what else text)} || "))
    for a, b, new in sorted(edits, reverse=True):
        code = code[:a] + new + code[b:]
    return code + tests


def prepare(into):
    """Copies the three crates of the proof system with all mutants; returns them."""
    files = subprocess.run(["git", "ls-files", "circuit", "verifier", "runtime", "ir", "Cargo.toml", "Cargo.lock", "clippy.toml", "rust-toolchain.toml", ".cargo"],
                           cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    for f in files:
        to = into / f
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / f, to)
    manifest = (into / "Cargo.toml").read_text()
    manifest = re.sub(r"(?m)^members = .*", 'members = ["circuit", "verifier", "runtime", "ir"]', manifest)
    (into / "Cargo.toml").write_text(re.sub(r"(?m)^default-members.*\n", "", manifest))
    (into / "circuit/src/mutation.rs").write_text(MODULE)
    lib = into / "circuit/src/lib.rs"
    lib.write_text(lib.read_text().replace("mod circuit;", "mod circuit;\npub mod mutation;", 1))
    mutants = Mutants()
    for file, krate in FILES.items():
        path = into / file
        path.write_text(instrument(file, path.read_text(), krate, mutants))
    return mutants.all


def build(workspace, target):
    """Builds the soundness tests; returns the executable."""
    environment = dict(os.environ, CARGO_TARGET_DIR=str(target))
    run = subprocess.run(["cargo", "test", "--offline", "-p", "mlc-runtime", "--test", "soundness", "--no-run"],
                         cwd=workspace, env=environment, capture_output=True, text=True)
    found = re.search(r"Executable .*\((.*)\)", run.stderr)
    if run.returncode != 0 or not found:
        sys.exit(run.stderr[-6000:])
    return found.group(1)


def failing(executable, workspace, mutant, file=""):
    """The tests that fail when `mutant` is off. Those of circuits come first for a circuit's check: they are quick."""
    if file.startswith("circuit/src/check"):
        if failed := tests(executable, workspace, mutant, "circuits"):
            return failed
    return tests(executable, workspace, mutant, "")


def tests(executable, workspace, mutant, part):
    environment = dict(os.environ, RUST_BACKTRACE="0")
    if mutant is not None:
        environment["MUTANT"] = str(mutant)
    try:
        run = subprocess.run([executable, part], cwd=workspace / "runtime", env=environment, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        return ["(no end within 300 s)"]
    failed = re.findall(r"(?m)^test (\S+) \.\.\. FAILED", run.stdout)
    if run.returncode != 0 and not failed:
        failed = [f"(exit status {run.returncode})"]
    return failed


def reason(file, text):
    for (f, part), why in EQUIVALENT.items():
        if f == file and " ".join(part.split()) in text:
            return why
    return None


def table(results):
    """The page, from (file, line, text, failing tests)."""
    killed = sum(1 for r in results if r[3])
    equivalent = sum(1 for r in results if not r[3] and reason(r[0], r[2]))
    lines = [
        "# Every check has a test that needs it",
        "",
        "Made by [`scripts/mutation/run.py`](../../scripts/mutation/run.py): each check of the verifier and of the circuit's rules is",
        "switched off, alone, and the soundness tests (`runtime/tests/soundness`) run. The last column has the tests that fail then, at",
        "most two of them.",
        "",
        f"{len(results)} checks: {killed} noticed, {equivalent} that no test can reach (the row says why), {len(results) - killed - equivalent} not noticed.",
    ]
    for file in FILES:
        rows = [r for r in results if r[0] == file]
        if not rows:
            continue
        lines += ["", f"## {file}", "", "| line | check | tests that fail without it |", "|---|---|---|"]
        for _, line, text, failed in rows:
            shown = text if len(text) <= 110 else text[:107] + "..."
            shown = shown.replace("|", "\\|")
            if failed:
                more = f" and {len(failed) - 2} more" if len(failed) > 2 else ""
                tests = ", ".join(failed[:2]) + more
            else:
                why = reason(file, text)
                tests = f"none: {why}" if why else "**none**"
            lines.append(f"| {line} | `{shown}` | {tests} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", type=pathlib.Path, help="cargo's target directory (default: in the copy)")
    parser.add_argument("--only", default="", help="only mutants whose file or text contains this")
    parser.add_argument("--list", action="store_true", help="list the mutants and stop")
    parser.add_argument("--write", type=pathlib.Path, help="write the results as a page")
    parser.add_argument("--results", type=pathlib.Path, help="keep results in this file, so that a part can be run again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mutation-") as directory:
        workspace = pathlib.Path(directory)
        mutants = prepare(workspace)
        chosen = [k for k, m in enumerate(mutants) if arguments.only in m[0] or arguments.only in m[2]]
        if arguments.list:
            for k in chosen:
                print(k, *mutants[k])
            return 0
        executable = build(workspace, (arguments.target or workspace / "target").resolve())
        if failed := failing(executable, workspace, None):
            sys.exit(f"without any mutant these fail: {failed}")
        kept = arguments.results
        known = json.loads(kept.read_text()) if kept and kept.exists() else {}
        # A mutant is named by its text, and by how many before it have the same: lines move.
        key = lambda k: (mutants[k][0], mutants[k][2])
        name = lambda k: f"{mutants[k][0]}: {mutants[k][2]} #{sum(key(i) == key(k) for i in range(k))}"
        survived = 0
        for k in chosen:
            file, line, text = mutants[k]
            start = time.time()
            failed = failing(executable, workspace, k, file)
            known[name(k)] = failed
            state = f"{len(failed)} fail" if failed else ("equivalent" if reason(file, text) else "SURVIVED")
            survived += state == "SURVIVED"
            print(f"{k:4} {file}:{line} {state} in {time.time() - start:.0f} s: {text[:100]}", flush=True)
            if kept:
                kept.write_text(json.dumps(known, indent=1))
        if arguments.write:
            run = [(*m, known[name(k)]) for k, m in enumerate(mutants) if name(k) in known]
            arguments.write.write_text(table(run))
    print(f"{len(chosen)} mutants, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
