namespace OrleansCluster.Faults.Checking;

/// <summary>A rule that the history breaks, and how.</summary>
internal sealed record Violation(Rule Rule, string Text)
{
    public override string ToString() => $"{Rule}: {Text}";
}

/// <summary>What the checker proves. docs/testing says what each of them means.</summary>
internal enum Rule
{
    /// <summary>An acknowledged write is in no later state of its object.</summary>
    LostWrite,

    /// <summary>Two different changes have one revision, or two observers saw different things at one.</summary>
    TwoHistories,

    /// <summary>Two acknowledged writes were given the same revision.</summary>
    RevisionTwice,

    /// <summary>A read or a refusal that fits no state of the object in its interval, or a write ordered against real time.</summary>
    Linearizability,

    /// <summary>A conditional write went through over another predecessor than it named.</summary>
    Condition,

    /// <summary>The state after a write is not the state before it with the write applied.</summary>
    WrongEffect,

    /// <summary>A change that no operation asked for, a refused operation that took effect, or one that took effect twice.</summary>
    Unexplained,

    /// <summary>Watch events out of order or repeated.</summary>
    WatchOrder,

    /// <summary>A watch left out a change.</summary>
    WatchGap,

    /// <summary>A bookmark was ahead of an undelivered change.</summary>
    BookmarkAhead,

    /// <summary>A list does not show the state of its revision, or a client was taken back in time.</summary>
    List,

    /// <summary>Two objects hold what only one may hold.</summary>
    Exclusive,

    /// <summary>A node held more than fits.</summary>
    Overcommit,

    /// <summary>A bound pod was bound elsewhere.</summary>
    Rebound,

    /// <summary>More or fewer pods than declared.</summary>
    Replicas,

    /// <summary>More pods than declared for longer, or by more, than a decision that is undone explains.</summary>
    Surplus,

    /// <summary>An object whose owner is gone.</summary>
    Orphan,

    /// <summary>An object that should be gone.</summary>
    Stuck,

    /// <summary>A pod that fits somewhere and is not bound, or does not run.</summary>
    Pending,

    /// <summary>Endpoints are not the ready pods.</summary>
    Endpoints,
}

/// <summary>What the checker found, and how much it looked at.</summary>
internal sealed class Verdict
{
    public List<Violation> Violations { get; } = [];

    /// <summary>Changes that were seen but never acknowledged and were gone after a change of epoch; allowed, told for the record.</summary>
    public List<string> RolledBack { get; } = [];

    /// <summary>Acknowledged writes that a run was told it may lose, and did lose.</summary>
    public List<string> LostByPermission { get; } = [];

    public int Entries { get; set; }

    public int Operations { get; set; }

    public int Events { get; set; }

    public void Add(Rule rule, string text)
    {
        // A broken run breaks a rule thousands of times; the first ones tell enough.
        if (Violations.Count(v => v.Rule == rule) < 20)
            Violations.Add(new Violation(rule, text));
    }

    public override string ToString() =>
        $"{Operations} operations, {Entries} changes, {Events} watch events: "
        + (Violations.Count == 0 ? "no violation" : $"{Violations.Count} violations\n" + string.Join('\n', Violations.Take(20)));
}
