#!/usr/bin/env python3
"""mutate.py list | mutate.py check TREE | mutate.py NAME TREE

Mutants of the flush at commit, with names that begin with segment_ of rules and segments, and with
gate_, lookup_, recheck_ and slot_ of what is called so: each is one edit that must not go unnoticed by
the audit (test/lib/MaAudit.pm), the history of segments (test/t/112_segments.pl) or the tests that
examine() in test/mutants/run names. An edit is exact: its text must occur as often as it says, else
this fails, so that a mutant cannot die out unseen when the code around it changes; check, which the
lints run, says so for all at once.
"""
import pathlib
import sys

# name: (what it breaks, file, old text, new text)
MUTANTS = {
    "old_snapshot": (
        "decides by the transaction's snapshot instead of the latest",
        "src/base/spi.c",
        "return GetLatestSnapshot();",
        "return GetTransactionSnapshot();",
    ),
    "no_increment": (
        "does not see the user's last command",
        "src/base/spi.c",
        "\tCommandCounterIncrement();\n",
        "",
    ),
    "no_contact_lock": (
        "evaluates without the contact's lock",
        "src/contacts/people/locks.c",
        "switch (acquire((uint64) contact_id, LOCK_CLASS_CONTACT, false))",
        "switch (LOCKACQUIRE_OK)",
    ),
    "delete_unmarked": (
        "a deleted row marks nobody",
        "src/contacts/capture/capture.c",
        "\tif (row->old != NULL)\n\t\tmark_event_side(row, event, row->old, MA_SIGN_MINUS);",
        "\tif (row->old != NULL && row->new != NULL)\n\t\tmark_event_side(row, event, row->old, MA_SIGN_MINUS);",
    ),
    "old_contact_unmarked": (
        "a row moved to another contact marks only the new one",
        "src/contacts/capture/capture.c",
        "\tif (row->old != NULL)\n\t\tmark_event_side(row, event, row->old, MA_SIGN_MINUS);",
        "\tif (row->old != NULL && row->new == NULL)\n\t\tmark_event_side(row, event, row->old, MA_SIGN_MINUS);",
    ),
    "dead_images": (
        "row images of rolled back savepoints take effect",
        "src/contacts/flush/flush.c",
        "\t\tif (ma_changes_live(((MaImage *) lfirst(cell))->xid))\n",
        "",
    ),
    "no_second_look": (
        "keys that became somebody else's before the lock was had are not left",
        "src/contacts/flush/evaluate.c",
        "\t\tif (work->contact_id != before[i])\n",
        "\t\tif (before[i] < 0)\n",
    ),
    "early_flush_forgets": (
        "an early flush empties the change set",
        "src/contacts/flush/flush.c",
        "\tMemoryContextDelete(work);\n\tPG_RETURN_INT64(evaluation.evaluated);",
        "\tMemoryContextDelete(work);\n\tma_changes_forget();\n\tPG_RETURN_INT64(evaluation.evaluated);",
    ),
    "images_overtake": (
        "a row's image takes effect before earlier ones that wait",
        "src/contacts/capture/rows.c",
        "\tif (!evaluation->worker)\n\t\timages = without_waiting(evaluation);\n",
        "\tif (evaluation->nmarks < 0)\n\t\timages = without_waiting(evaluation);\n",
    ),
    "no_key_lock": (
        "an event of a contact that is just being made is not waited for",
        "src/contacts/flush/evaluate.c",
        "\tma_lock_unknown_keys(evaluation);\n",
        "",
    ),
    "truncate_unseen": (
        "TRUNCATE leaves nothing to the worker",
        "src/contacts/flush/flush.c",
        "\tma_spill_tables(changed_tables(changes));\n",
        "\t(void) changed_tables(changes);\n",
    ),
    "segment_until_swapped": (
        "what is true of all holds as long as the last of them, not the first",
        "src/rules/evaluate/evaluate.c",
        "shared.until = Min(shared.until, truth.until);",
        "shared.until = Max(shared.until, truth.until);",
    ),
    "segment_greater_or_equal": (
        "greater means greater or equal",
        "src/rules/evaluate/compare.c",
        "order >= 0 : order > 0;",
        "order >= 0 : order >= 0;",
    ),
    "segment_window_closed": (
        "a row counts at the instant at which its window has passed it",
        "src/rules/evaluate/ranges.c",
        "if (t >= ma_range_end(range, middle))",
        "if (t > ma_range_end(range, middle))",
    ),
    "segment_future_unseen": (
        "rows dated in the future are no instants to look again at",
        "src/rules/evaluate/ranges.c",
        "\t\tnext = start_of(range, from - 1);",
        "\t\tnext = DT_NOEND;",
    ),
    "segment_followed_open": (
        "what comes at the very end of the time given does not follow",
        "src/rules/evaluate/spans.c",
        "list->rows[i].at <= last)",
        "list->rows[i].at < last)",
    ),
    "segment_wrong_sign": (
        "rows that can only make it true are looked at for members only",
        "src/segments/consumer.c",
        "!(moves == MA_MOVES_UP && bit) && !(moves == MA_MOVES_DOWN && !bit)",
        "!(moves == MA_MOVES_UP && !bit) && !(moves == MA_MOVES_DOWN && bit)",
    ),
    "segment_sign_not_turned": (
        "NOT does not turn the way rows move a rule",
        "src/rules/rule.c",
        "\tif (!negated || moves == EITHER)",
        "\tif (negated || moves == EITHER || !negated)",
    ),
    "segment_timer_late": (
        "a wake is never moved to an earlier instant",
        "src/segments/state.c",
        "states->wakes[cell] <= at || truth.until < states->wakes[cell]",
        "states->wakes[cell] <= at",
    ),
    "segment_timer_kept": (
        "a wake that has come is not set anew",
        "src/segments/state.c",
        "states->wakes[cell] <= at || truth.until < states->wakes[cell]",
        "truth.until < states->wakes[cell]",
    ),
    "segment_read_overdue": (
        "reads take who is overdue as he is stored",
        "src/segments/reads.c",
        "\t\tadd_overdue(stale, now);",
        "\t\tadd_overdue(stale, now - USECS_PER_DAY);",
    ),
    "segment_members_only_added": (
        "who leaves stays among the members",
        "src/segments/state.c",
        "ma_write_delete(write, &row->tts_tid)))\n\t\tstate_changed",
        "row != NULL))\n\t\tstate_changed",
    ),
    "gate_no_lock": (
        "claims without the recipients' locks",
        "src/delivery/gate/gate.c",
        "\t\t\tma_recipient_try_lock(messages[i].lock_key);",
        "\t\t\tmessages[i].address != NULL;",
    ),
    "gate_no_second_look": (
        "sends what was claimed without a second look before the network",
        "src/delivery/send/deliver.c",
        "next.n = ma_gate_recheck(next.messages, batch.n);",
        "next.n = batch.n;",
    ),
    "gate_log_unseen": (
        "sends to whom the dirty log has changes of",
        "src/delivery/gate/gate.c",
        "messages[i].waiting = waiting[i];",
        "messages[i].waiting = waiting[i] && n < 0;",
    ),
    "lookup_waits_for_earlier": (
        "a changed key waits for transactions older than the change only, not for all that did not see it",
        "src/contacts/attach/lookups.c",
        "\"UPDATE marketing_internal.dirty SET retry_at = pg_catalog.clock_timestamp(), \"\n"
        "\t\t\"xid = pg_catalog.pg_current_xact_id() \"",
        "\"UPDATE marketing_internal.dirty SET retry_at = pg_catalog.clock_timestamp() \"",
    ),
    "lookup_no_wait": (
        "a changed key waits for nobody",
        "src/contacts/attach/lookups.c",
        "\"(d.xid OPERATOR(pg_catalog.<=) \" \\",
        "\"(d.xid OPERATOR(pg_catalog.>) \" \\",
    ),
    "lookup_first_only": (
        "of two lookups in one table only those are looked at whom the first points to",
        "src/contacts/attach/lookups.c",
        "if (lookup->table->id != table_id)",
        "if (lookup->table->id != table_id || sql.len > 0)",
    ),
    "lookup_own_change_unseen": (
        "reads do not see that the own transaction has changed a row that is looked up",
        "src/contacts/flush/reads.c",
        "changes->rekeys != NIL || changes->lookups != NIL;",
        "changes->rekeys != NIL;",
    ),
    "recheck_all_at_once": (
        "everybody is asked again at the same instant",
        "src/rules/evaluate/recheck.c",
        "int64		phase = (int64) (hash & PG_INT64_MAX) % every;",
        "int64		phase = (int64) (hash & 1) % every;",
    ),
    "recheck_too_late": (
        "the next instant is one interval too late",
        "src/rules/evaluate/recheck.c",
        "now - gone + every};",
        "now + every};",
    ),
    "recheck_never_behind": (
        "a worker that is behind does not make the answers older",
        "src/segments/kept.c",
        "*at = Min(ma_now(), first_overdue(segment));",
        "*at = Min(ma_now(), first_overdue(segment) + USECS_PER_DAY);",
    ),
    "recheck_at_commit": (
        "functions of users, and sub-selects, run in somebody's commit",
        "src/segments/consumer.c",
        "if (!segment->sync && !ma_worker_is_active())",
        "if (segment == NULL)",
    ),
    "score_fading_rows": (
        "rows that come or go do not end what arithmetic with scores says",
        "src/rules/evaluate/compare.c",
        "TimestampTz end = Min(limit, next_after(work, at));",
        "TimestampTz end = limit;",
    ),
    "score_fading_negative": (
        "a rising score is bounded the wrong way round",
        "src/rules/evaluate/fading.c",
        "if (order(result.low, result.high) > 0)",
        "if (order(result.low, result.high) > 1)",
    ),
    "score_future_counts": (
        "a row gives points before its time has come",
        "src/scoring/score_rows.c",
        "else if (rule->expires != NULL || at > pair->as_of)",
        "else if (rule->expires != NULL)",
    ),
    "score_latest_count": (
        "of the rows of a period the latest count",
        "src/scoring/score_rows.c",
        "\tif (a->at != b->at)\n\t\treturn a->at < b->at ? -1 : 1;",
        "\tif (a->at != b->at)\n\t\treturn a->at > b->at ? -1 : 1;",
    ),
    "score_expires_late": (
        "points expire an hour late",
        "src/scoring/points.c",
        "DT_NOEND : at + exact;",
        "DT_NOEND : at + exact + USECS_PER_HOUR;",
    ),
    "score_hysteresis": (
        "a threshold is lost where it was reached",
        "src/scoring/points.c",
        "value >= model->thresholds[level].lost);",
        "value >= model->thresholds[level].value);",
    ),
    "score_week_from_sunday": (
        "weeks of at_most begin on Sunday",
        "src/scoring/points.c",
        "return per == MA_PER_DAY ? day : day / 7;",
        "return per == MA_PER_DAY ? day : (day + 1) / 7;",
    ),
    "score_names_of_then": (
        "a renamed column is read by the name it had",
        "src/scoring/views.c",
        "\tif (reads == NULL || same_names(reads->columns, rule->columns))",
        "\tif (reads == NULL || rule != NULL)",
    ),
    "score_renames_not_watched": (
        "capture is not told the new name of a column",
        "src/scoring/views.c",
        "if (misses_names(model))",
        "if (misses_names(model) && model->id < 0)",
    ),
    "score_entries_forgotten": (
        "points without a row do not count",
        "src/scoring/score_rows.c",
        "any |= ((MaScoreModel *) lfirst(cell))->entries;",
        "any |= ((MaScoreModel *) lfirst(cell))->nthresholds < 0;",
    ),
    "score_added_rolled_back": (
        "a row that a savepoint has taken back is added to the score",
        "src/contacts/flush/evaluate.c",
        "if (ma_changes_live(row->xid))",
        "if (row->xid != 0)",
    ),
    "score_added_twice": (
        "a row that was evaluated before the commit is added once more",
        "src/contacts/capture/changes.c",
        "\t\tcurrent->evaluated = true;",
        "\t\tcurrent->evaluated = false;",
    ),
    "score_added_beside_changes": (
        "a score is added to though a row was changed, too",
        "src/contacts/capture/changes.c",
        "\tlose_added(mark);\n\tif (event_id != 0)",
        "\tif (event_id != 0)",
    ),
    "score_added_capped": (
        "rows are added beyond at_most",
        "src/scoring/additions.c",
        "if (rule->at_most > 0 ||",
        "if (rule->at_most < 0 ||",
    ),
    "score_added_crosses": (
        "a threshold is crossed by what is stored",
        "src/scoring/additions.c",
        "if (!isfinite(score.raw) ||",
        "if (!isfinite(score.raw) &&",
    ),
    "score_added_old_shape": (
        "a row is read by the shape its table got later",
        "src/scoring/row_points.c",
        "\tif (row->epoch != ma_relations_epoch())\n\t\treturn NULL;\n\tif (points->epoch != row->epoch)",
        "\tif (points->epoch != ma_relations_epoch())",
    ),
    "score_added_unfaded": (
        "what is added to has not faded",
        "src/scoring/additions.c",
        "score.raw *= ma_score_left(model, now - score.instant);",
        "score.raw *= ma_score_left(model, 0);",
    ),
    "score_added_by_settings": (
        "rules that heed settings of the session are compiled once",
        "src/base/expression.c",
        "if (contain_mutable_functions(tree) || prints_value(tree, NULL))",
        "if (tree == NULL)",
    ),
    "score_atom_bound": (
        "a score is compared with one point more",
        "src/rules/evaluate/scores.c",
        "*least = high / MA_RULE_SCORE_STEPS;",
        "*least = high / MA_RULE_SCORE_STEPS + 1;",
    ),
    "score_atom_holds_for_ever": (
        "who is in a segment by his score stays until a row changes",
        "src/scoring/atom.c",
        "return ma_score_holds(ma_score_model_required(name), &own, at, bound);",
        "return own.until;",
    ),
    "stage_backwards": (
        "the definition of an earlier stage takes people back",
        "src/scoring/stages/define.c",
        "WHERE COALESCE(o.place OPERATOR(pg_catalog.<) $1, true)",
        "WHERE COALESCE(o.place OPERATOR(pg_catalog.<>) $1, true)",
    ),
    "stage_name_of_then": (
        "the text of a stage's rule does not follow a renamed column",
        "src/scoring/stages/define.c",
        "\tif (stage->followed)\n\t\tstore_text(stage);",
        "\tif (stage->followed && stage->id < 0)\n\t\tstore_text(stage);",
    ),
    "stage_definition_tells": (
        "who was busy while everybody was looked at starts a journey by the definition",
        "src/scoring/stages/build.c",
        "\t\tif (busy[i])\n",
        "\t\tif (busy[i] && count < 0)\n",
    ),
    "stage_segment_anew": (
        "a segment that is defined anew leaves the views of stages behind",
        "src/scoring/stages/define.c",
        "if (changed || stage->followed)",
        "if (stage->followed)",
    ),
    "stage_merge_stays": (
        "a split contact leaves his stage behind",
        "src/scoring/stages/move.c",
        "\t\tif (after == 0)\n",
        "\t\tif (after < 0)\n",
    ),
    "stage_not_heard_of": (
        "somebody who has not heard of a stage takes back whom he finds in it",
        "src/scoring/stages/move.c",
        "\t/* Who had them before us may have brought them to a stage that is news to us. */\n\tAcceptInvalidationMessages();\n",
        "",
    ),
    "stage_of_dropped_segment": (
        "a stage is defined by a segment that is just being dropped",
        "src/scoring/stages/define.c",
        "\t/* Against whoever drops what the rule names. */\n\tLockRelationOid(ma_extension_required()->definition_table, ShareUpdateExclusiveLock);\n",
        "",
    ),
    "lead_comes_back": (
        "what brought a rejected lead there before brings it back",
        "src/scoring/explain.c",
        "return left_of(model, contact, now, now) - left_of(model, contact, since, now);",
        "return left_of(model, contact, now, now);",
    ),
    "lead_clock_anew": (
        "a rejected lead comes back with the first point after that",
        "src/scoring/sales/leads.c",
        "since, now)) < threshold->value;",
        "since, now)) <= 0;",
    ),
    "lead_owner_of_both": (
        "two at a time in a round robin get one owner",
        "src/scoring/sales/owners.c",
        "\tma_run(&lock, &value, NULL, MA_RUN_WRITE_LATEST);\n",
        "\t(void) lock;\n",
    ),
    "lead_threshold_gone": (
        "the threshold of a hand-off may be taken away",
        "src/scoring/sales/hand_off.c",
        "WHERE m.name OPERATOR(pg_catalog.=) $1 AND NOT $2 OPERATOR(pg_catalog.?) h.threshold",
        "WHERE m.name OPERATOR(pg_catalog.<>) $1 AND NOT $2 OPERATOR(pg_catalog.?) h.threshold",
    ),
    "lead_dropped_owner": (
        "a contact is given to an owner who is just being dropped",
        "src/scoring/sales/owners.c",
        "WHERE o.owner_id OPERATOR(pg_catalog.=) $2 FOR KEY SHARE ON CONFLICT",
        "WHERE o.owner_id OPERATOR(pg_catalog.=) $2 ON CONFLICT",
    ),
    "lead_task_of_dropped": (
        "a task is given to an owner who is just being dropped",
        "src/scoring/sales/tasks.c",
        "WHERE o.owner_id OPERATOR(pg_catalog.=) $3 FOR KEY SHARE), $4",
        "WHERE o.owner_id OPERATOR(pg_catalog.=) $3), $4",
    ),
    "lead_not_noted": (
        "a lead that comes over the threshold waits for the next look at all",
        "src/scoring/consumer.c",
        "\t\tif (count > 0)\n\t\t\tma_hand_off_reached(",
        "\t\tif (count < 0)\n\t\t\tma_hand_off_reached(",
    ),
    "slot_for_old_snapshots": (
        "a slot is given out while somebody's snapshot is from before it was cleared",
        "src/segments/slots.c",
        "if (!TransactionIdPrecedes(DatumGetTransactionId(value), oldest))",
        "if (!TransactionIdIsNormal(oldest))",
    ),
    "slot_one_round": (
        "a slot is clear after one round, whether or not that found its bit",
        "src/segments/slots.c",
        "SET cleared = NOT g.found, found = false",
        "SET cleared = true, found = false",
    ),
    "slot_old_set_writes": (
        "who evaluated with other segments than there are now writes nevertheless",
        "src/segments/state.c",
        "\tif (now == all)\n",
        "\tif (now == all || now->n < INT_MAX)\n",
    ),
}


def mutated(name, tree):
    """The file's path and its text with the edit; an error if its place is not there once."""
    _, file, old, new = MUTANTS[name]
    path = pathlib.Path(tree) / file
    text = path.read_text()
    if text.count(old) != 1:
        raise ValueError(f"mutant {name}: its place occurs {text.count(old)} times in {file}, not once")
    return path, text.replace(old, new)


def check(tree):
    """What is wrong with the mutants of this tree, as lines."""
    wrong = []
    for name in MUTANTS:
        try:
            mutated(name, tree)
        except ValueError as error:
            wrong.append(str(error))
    return wrong


def main():
    if sys.argv[1:] == ["list"]:
        print("\n".join(MUTANTS))
        return
    name, tree = sys.argv[1:]
    if name == "check":
        wrong = check(tree)
        print("\n".join(wrong) if wrong else f"lint mutants: ok ({len(MUTANTS)} mutants)")
        sys.exit(1 if wrong else 0)
    try:
        path, text = mutated(name, tree)
    except ValueError as error:
        sys.exit(str(error))
    path.write_text(text)
    print(f"{name}: {MUTANTS[name][0]} ({MUTANTS[name][1]})")


main()
