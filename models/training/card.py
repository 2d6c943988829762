"""The model's card, from what was measured."""

COLUMNS = "| | AUC | AP | base rate | recall | precision | F1 | Brier | ECE | episodes seen / in time | lead, median | onset AUC / AP |"


def number(v, digits=3):
    return "–" if v is None else f"{v:.{digits}f}"


def row(name, r):
    lead = f"{r['lead_h_median']:.1f} h" if r.get("lead_h_median") is not None else "–"
    return (
        f"| {name} | {number(r['auc'], 4)} | {number(r['ap'], 4)} | {r['base_rate']:.2%} | {number(r['recall'])} | "
        f"{number(r['precision'])} | {number(r['f1'])} | {number(r['brier'], 5)} | {number(r['ece'], 5)} | "
        f"{number(r.get('seen'))} / {number(r.get('in_time'))} of {r['episodes']} | {lead} | "
        f"{number(r['onset_auc'])} / {number(r['onset_ap'], 4)} |"
    )


def interval(r, key):
    low, high = r[key]
    return f"{low:.3f}–{high:.3f}"


def render(manifest, measured, train, test, day):
    results, threshold = measured["results"], measured["threshold"]
    model = results["model"]
    lines = [
        f"# {manifest['name']} {manifest['version']}",
        "",
        "Price instability: the probability that the spot price of a pool rises by more than 3 % within the next 12 h,",
        "`max price over (t, t + 12 h] > 1.03 · price(t)`. **A price rise is not an interruption**: this is no probability",
        "that an instance is taken away, and nothing in its data says how the two go together.",
        "",
        "## Data",
        "",
        f"Spot prices of {', '.join(manifest['coverage']['regions'])}, Linux, {len(train.header['pools'])} pools. Trained on",
        f"{day(train.time.min())} to {day(train.time.max())} ({len(train.y)} hourly rows, {int(train.y.sum())} before a rise), tested on",
        f"{day(test.time.min())} to {day(test.time.max())} ({len(test.y)} rows, {int(test.y.sum())} before a rise, {model['episodes']} episodes).",
        "The first 7 days of each stretch of data have no rows, rows whose next 12 h are not covered are left out, and the",
        "hole in the data is crossed by neither a feature nor a label. On-demand prices are those of 2025: where spot was dearer",
        "the headroom is 0. Copies of the training time at another pace were trained on as well (see `models/README.md`); at \"other pace\",",
        "the test time is stretched and its moves scaled by factors that no copy had.",
        "",
        "## Held-out results",
        "",
        f"Every row below is on rows that the model in question was not trained on; ours at threshold {threshold:g}, a baseline at the",
        "threshold with its best F1 on the test rows. An episode is an unbroken run of rows before rises; seen in time means flagged before the",
        "first rise of 3 % is complete. Onset rows are those whose price has not changed for 24 h.",
        "",
        COLUMNS,
        "|---" * 12 + "|",
        *(row("**this model**" if name == "model" else name, r) for name, r in results.items()),
    ]
    if "interval" in model:
        i = model["interval"]
        lines += [
            "",
            f"95 % intervals (bootstrap over blocks of one pool and 12 h): AUC {interval(i, 'auc')}, AP {interval(i, 'ap')}, recall "
            f"{interval(i, 'recall')}, precision {interval(i, 'precision')}.",
        ]
    if "onset_interval" in model:
        i = model["onset_interval"]
        lines += [
            f"Onset rows ({model['onset_positives']} before a rise): AUC {interval(i, 'auc')}, AP {i['ap'][0]:.4f}–{i['ap'][1]:.4f}.",
            "Rises of many pools come together, so the true uncertainty is larger than these intervals.",
        ]
    lines += [
        "",
        "## Thresholds",
        "",
        f"{threshold:g} was set before the test, as what flags 90 % of the rows before a rise on families that were not seen: the seeds ask",
        "for recall before precision. What others would give on the test rows:",
        "",
        "| threshold | recall | precision | F1 | rows flagged | episodes seen | in time | lead, median |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for c in measured["curve"]:
        lead = f"{c['lead_h_median']:.1f} h" if c.get("lead_h_median") is not None else "–"
        lines.append(
            f"| {c['threshold']:g} | {c['recall']:.3f} | {c['precision']:.3f} | {c['f1']:.3f} | {c['flagged']:.2%} | "
            f"{number(c.get('seen'))} | {number(c.get('in_time'))} | {lead} |"
        )
    lines += [
        "",
        "## Limits",
        "",
        "- One region, half a year, with March 2020 in the training time. Another market has another base rate: watch calibration.",
        "- Most of what it finds are rises that are under way. Before the first move of a calm price it knows little: see the onset column.",
        "- The features were chosen with looks at the test time, as were the figures that it was to beat; held-out families and the time",
        "  turned round show what does not depend on that.",
        "- Linux prices only; features look back 168 h and need every change in that time.",
        f"- Known without an on-demand price, but less well. Trained until {manifest['trained_until']}.",
        "",
    ]
    return "\n".join(lines)
