using OrleansCluster.Faults.Checking;
using OrleansCluster.Faults.Histories;
using static OrleansCluster.Faults.Tests.Script;

namespace OrleansCluster.Faults.Tests;

/// <summary>For every rule a history that keeps it and one that breaks it in one place.</summary>
public sealed class HistoryCheckerTests
{
    private static readonly ObjectVersion A1 = Version("n/a", 1, "u", ("v", "1"));
    private static readonly ObjectVersion A2 = Version("n/a", 2, "u", ("v", "2"));
    private static readonly ObjectVersion A3 = Version("n/a", 3, "u", ("v", "3"));
    private static readonly ObjectVersion B2 = Version("n/b", 2, "w", ("v", "b"));
    private static readonly ObjectVersion B3 = Version("n/b", 3, "w", ("v", "b3"));

    private static Script Two() => new Script().Create(0, 10, A1).Update(20, 30, A2, expected: 1);

    private static Script TwoWatched() => Two().Added(12, A1).Modified(32, A2);

    [Fact]
    public void A_plain_history_is_right() =>
        Holds(TwoWatched().Get(33, 34, "n/a", A2).List(35, 36, 2, A2).Delete(40, 50, "n/a").Deleted(52, A3).Get(53, 54, "n/a", null).Bookmark(60, 3).Final(70, 3).Goal(3));

    [Fact]
    public void Overlapping_operations_may_be_seen_in_either_state() =>
        Holds(TwoWatched().Get(19, 25, "n/a", A1).Get(19, 26, "n/a", A2).Refused(Verb.Create, 5, 21, "n/a", "AlreadyExists"));

    [Fact]
    public void A_write_of_unknown_outcome_may_have_happened_late() => Holds(
        TwoWatched().Write(Verb.Update, 40, 45, A3, outcome: Outcome.Unknown).Get(50, 60, "n/a", A2).Modified(70, A3).Get(80, 90, "n/a", A3));

    [Fact]
    public void A_write_of_unknown_outcome_may_never_have_happened() =>
        Holds(TwoWatched().Write(Verb.Update, 40, 45, A3, outcome: Outcome.Unknown).Delete(46, 47, "n/zz", outcome: Outcome.Unknown).Final(99, 2, A2));

    [Fact]
    public void An_answer_after_a_lost_one_may_show_a_later_state()
    {
        ObjectVersion mine = Version("n/a", 3, "u", ("v", "2"), ("x", "m")), theirs = Version("n/a", 4, "u", ("v", "2"), ("x", "m"), ("y", "t"));
        Holds(TwoWatched().Patch(40, 60, theirs, ("x", "m")).Patch(45, 50, theirs, ("y", "t")).Modified(70, mine).Modified(71, theirs));
    }

    [Fact]
    public void An_answer_that_shows_a_state_without_the_write()
    {
        var theirs = Version("n/a", 3, "u", ("v", "2"), ("y", "t"));
        Breaks(Rule.RevisionTwice, TwoWatched().Patch(40, 60, theirs, ("x", "m")).Patch(45, 50, theirs, ("y", "t")).Modified(71, theirs));
    }

    [Fact]
    public void An_acknowledged_write_missing_in_a_list_is_lost() => Breaks(Rule.LostWrite, Two().List(40, 41, 2, A1));

    [Fact]
    public void An_acknowledged_write_missing_at_the_end_is_lost() => Breaks(Rule.LostWrite, Two().Final(99, 2, A1));

    [Fact]
    public void An_acknowledged_object_that_vanished_is_lost() => Breaks(Rule.LostWrite, Two().Final(99, 2));

    [Fact]
    public void An_acknowledged_write_that_no_watch_saw_is_lost() =>
        Breaks(Rule.LostWrite, Two().Added(12, A1).Added(40, B3).Create(35, 36, B3));

    [Fact]
    public void An_acknowledged_delete_that_removed_nothing_is_lost() => Breaks(Rule.LostWrite, TwoWatched().Delete(40, 50, "n/a").Final(99, 2, A2));

    [Fact]
    public void A_removal_that_nobody_asked_for_is_a_loss() => Breaks(Rule.LostWrite, TwoWatched().Deleted(40, A3));

    [Fact]
    public void Two_writes_with_one_revision() => Breaks(Rule.RevisionTwice, TwoWatched().Update(40, 50, A2 with { Digest = A2.Digest }));

    [Fact]
    public void Two_observers_that_saw_different_things_at_one_revision() =>
        Breaks(Rule.TwoHistories, TwoWatched().Watcher(new(13, WatchEventType.Added, 1, A1), new(33, WatchEventType.Modified, 2, A2 with { Digest = "other" })));

    [Fact]
    public void A_read_of_an_older_state_after_the_newer_was_acknowledged() => Breaks(Rule.Linearizability, TwoWatched().Get(40, 41, "n/a", A1));

    [Fact]
    public void A_read_of_an_older_state_after_somebody_read_the_newer() =>
        Breaks(Rule.Linearizability, TwoWatched().Get(20, 22, "n/a", A2).Get(23, 24, "n/a", A1));

    [Fact]
    public void A_read_that_finds_nothing_after_the_object_was_acknowledged() => Breaks(Rule.Linearizability, TwoWatched().Get(40, 41, "n/a", null));

    [Fact]
    public void A_read_from_the_future() => Breaks(Rule.Linearizability, TwoWatched().Get(11, 12, "n/a", A2));

    [Fact]
    public void A_list_older_than_an_acknowledged_write() => Breaks(Rule.Linearizability, TwoWatched().List(40, 41, 1, A1));

    [Fact]
    public void Revisions_against_real_time() =>
        Breaks(Rule.Linearizability, new Script().Create(0, 10, B2).Create(20, 30, A1).Added(40, A1).Added(41, B2));

    [Fact]
    public void A_refusal_as_existing_of_what_never_existed() => Breaks(Rule.Linearizability, TwoWatched().Refused(Verb.Create, 40, 41, "n/c", "AlreadyExists"));

    [Fact]
    public void A_refusal_as_missing_of_what_exists() => Breaks(Rule.Linearizability, TwoWatched().Refused(Verb.Update, 40, 41, "n/a", "NotFound"));

    [Fact]
    public void A_conflict_although_the_revision_was_right() =>
        Breaks(Rule.Linearizability, TwoWatched().Refused(Verb.Update, 40, 41, "n/a", "Conflict", expected: 2));

    [Fact]
    public void A_conditional_write_over_another_predecessor() => Breaks(Rule.Condition, TwoWatched().Update(40, 50, A3, expected: 1).Modified(51, A3));

    [Fact]
    public void A_patch_that_dropped_somebody_elses_change()
    {
        var lost = Version("n/a", 3, "u", ("w", "x"));
        Breaks(Rule.WrongEffect, TwoWatched().Patch(40, 50, lost, ("w", "x")).Modified(51, lost));
    }

    [Fact]
    public void A_change_that_nobody_asked_for() => Breaks(Rule.Unexplained, TwoWatched().Modified(40, A3));

    [Fact]
    public void A_refused_write_that_took_effect() =>
        Breaks(Rule.Unexplained, TwoWatched().Write(Verb.Update, 40, 45, A3, outcome: Outcome.Failed, reason: "Conflict", expected: 1).Modified(50, A3));

    [Fact]
    public void A_write_of_unknown_outcome_that_took_effect_twice()
    {
        var again = Version("n/a", 4, "u", ("v", "3"));
        Breaks(Rule.Unexplained, TwoWatched().Write(Verb.Update, 40, 45, A3, outcome: Outcome.Unknown).Modified(50, A3).Modified(60, again));
    }

    [Fact]
    public void A_watch_event_left_out() => Breaks(Rule.WatchGap, Two().Added(12, A1).Create(40, 50, B3).Added(52, B3));

    [Fact]
    public void A_watch_event_left_out_that_another_watch_has() => Breaks(
        Rule.WatchGap, Two().Create(40, 50, B3).Added(12, A1).Added(52, B3).Watcher(
            new(13, WatchEventType.Added, 1, A1), new(33, WatchEventType.Modified, 2, A2), new(53, WatchEventType.Added, 3, B3)));

    [Fact]
    public void A_watch_that_never_got_the_last_change() => Breaks(Rule.WatchGap, Two().Added(12, A1).Final(99, 2, A2).Goal(2));

    [Fact]
    public void A_watch_event_twice() => Breaks(Rule.WatchOrder, TwoWatched().Modified(33, A2));

    [Fact]
    public void Watch_events_out_of_order() => Breaks(Rule.WatchOrder, Two().Added(31, A2).Added(32, A1));

    [Fact]
    public void An_object_added_twice() => Breaks(Rule.WatchOrder, Two().Added(12, A1).Added(32, A2));

    [Fact]
    public void A_bookmark_ahead_of_a_change() => Breaks(Rule.BookmarkAhead, Two().Added(12, A1).Bookmark(31, 2).Modified(32, A2));

    [Fact]
    public void A_list_after_410_that_goes_back() => Breaks(Rule.List, TwoWatched().Relist(50, 1, A1));

    [Fact]
    public void A_list_after_410_that_misses_a_change() => Breaks(Rule.LostWrite, TwoWatched().Relist(50, 5, A1));

    [Fact]
    public void A_list_with_an_item_newer_than_itself() => Breaks(Rule.List, TwoWatched().List(32, 33, 1, A2));

    [Fact]
    public void A_new_epoch_after_410_is_right_and_may_undo_what_was_never_acknowledged()
    {
        const long Epoch = 1L << 40;
        var script = new Script().Create(0, 10, A1).Write(Verb.Update, 20, 25, A2, outcome: Outcome.Unknown).Added(12, A1).Modified(26, A2).Relist(50, Epoch, A1)
            .Get(60, 61, "n/a", A1);
        Assert.Single(Holds(script).RolledBack);
    }

    [Fact]
    public void A_new_epoch_that_lost_an_acknowledged_write() => Breaks(Rule.LostWrite, TwoWatched().Relist(50, 1L << 40, A1));

    [Fact]
    public void A_new_epoch_may_lose_an_acknowledged_write_where_that_is_allowed()
    {
        var verdict = HistoryChecker.Check(TwoWatched().Relist(50, 1L << 40, A1).Get(60, 61, "n/a", A1).History, mayLose: true);
        Assert.Empty(verdict.Violations);
        Assert.Single(verdict.LostByPermission);
    }

    [Fact]
    public void A_new_epoch_without_410() => Breaks(Rule.WatchGap, TwoWatched().Create(40, 50, B3 with { Revision = 1L << 40 }).Added(51, B3 with { Revision = 1L << 40 }));

    [Fact]
    public void A_claim_held_twice()
    {
        ObjectVersion first = Version("n/a", 1, "u", ("claim", "ip/1")), second = Version("n/b", 2, "w", ("claim", "ip/1"));
        Breaks(Rule.Exclusive, new Script().Create(0, 10, first).Create(20, 30, second).Added(40, first).Added(41, second));
    }

    [Fact]
    public void Servers_that_differ_at_the_end() => Breaks(Rule.TwoHistories, TwoWatched().Final(90, 2, A2).Final(91, 2));

    private static Verdict Holds(Script script)
    {
        var verdict = HistoryChecker.Check(script.History);
        Assert.Empty(verdict.Violations);
        return verdict;
    }

    private static void Breaks(Rule rule, Script script)
    {
        var violations = HistoryChecker.Check(script.History).Violations;
        Assert.Contains(violations, v => v.Rule == rule);
    }
}
