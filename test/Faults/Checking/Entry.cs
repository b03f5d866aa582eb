using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Checking;

/// <summary>One change of one object, put together from everything that anybody saw of it.</summary>
internal sealed class Entry
{
    /// <summary>Twice the revision; odd for a removal that nobody saw and that must have been, whose place is known only roughly.</summary>
    public required long Position { get; init; }

    public required string Key { get; init; }

    public required string Uid { get; init; }

    /// <summary>The object after the change; null after a removal.</summary>
    public required ObjectVersion? Version { get; init; }

    /// <summary>A watch delivered it or a read showed it: it is known not only from the answer to its own write.</summary>
    public bool Observed { get; set; }

    /// <summary>The operation that made it, as far as that can be told.</summary>
    public Operation? Writer { get; set; }

    /// <summary>Not before this moment.</summary>
    public long Start { get; set; } = long.MinValue;

    /// <summary>The lowest position it can have; another one than <see cref="Position"/> only if inferred.</summary>
    public long Least { get => field == 0 ? Position : field; init; }

    /// <summary>The position at which it had certainly happened; another one than <see cref="Position"/> only if inferred.</summary>
    public long Sure { get => field == 0 ? Position : field; init; }

    public long Revision => Position / 2;

    public bool Inferred => Position % 2 != 0;

    public bool Acknowledged => Writer is { Outcome: Outcome.Ok };

    public Fields? Fields => Version?.Fields;

    public override string ToString() => $"{Key}@{Revision}{(Inferred ? "?" : "")} {(Version is null ? "removed" : Version.Fields.ToString())}";
}

/// <summary>The stretches of a resource's log of which every change is known, because a watch over all of it went through them.</summary>
internal sealed class Coverage
{
    private readonly List<(long From, long To)> _stretches = [];

    public void Add(long from, long to)
    {
        if (to > from)
            _stretches.Add((from, to));
    }

    public void Close()
    {
        var sorted = _stretches.OrderBy(s => s.From).ToList();
        _stretches.Clear();
        foreach (var (from, to) in sorted)
        {
            if (_stretches.Count > 0 && from <= _stretches[^1].To)
                _stretches[^1] = (_stretches[^1].From, Math.Max(to, _stretches[^1].To));
            else
                _stretches.Add((from, to));
        }
    }

    /// <summary>Whether every change after one revision and up to another is known.</summary>
    public bool Covers(long after, long through) => after >= through || _stretches.Exists(s => s.From <= after && through <= s.To);
}
