using OrleansCluster.Api;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>Where an item of a pump stands.</summary>
internal enum PumpItemState
{
    /// <summary>Nothing to do now.</summary>
    Idle,

    /// <summary>In the ready queue.</summary>
    Ready,

    /// <summary>Its grain runs.</summary>
    Running,

    /// <summary>Waits for a time: back-off, requeue or least interval.</summary>
    Delayed,
}

/// <summary>
/// One object of a controller in its pump. Keeps, per resource, the oldest revision that no settled run has seen (what must not be acknowledged)
/// and the newest one (what the next run must see). Not thread-safe: the pump's lock guards it.
/// </summary>
internal sealed class PumpItem(ObjectKey key)
{
    // Changes since the last run began, and those the current run has been given.
    private Dictionary<string, (long Oldest, long Newest)> _fresh = new(1, StringComparer.Ordinal);
    private Dictionary<string, (long Oldest, long Newest)>? _given;

    public ObjectKey Key { get; } = key;

    public PumpItemState State { get; set; }

    /// <summary>When a delayed item is due.</summary>
    public DateTimeOffset Due { get; set; }

    /// <summary>Timestamp of its becoming ready.</summary>
    public long ReadySince { get; set; }

    /// <summary>End of the last run.</summary>
    public DateTimeOffset LastRun { get; set; }

    /// <summary>Not to run before, after a failure.</summary>
    public DateTimeOffset NotBefore { get; set; }

    /// <summary>True while changes wait that no run has been given.</summary>
    public bool IsDirty => _fresh.Count > 0;

    public void Note(string resource, long revision) =>
        _fresh[resource] = _fresh.TryGetValue(resource, out var range)
            ? (range.Oldest, Math.Max(range.Newest, revision))
            : (revision, revision);

    /// <summary>Hands all changes to a run.</summary>
    public SeenRevision[] TakeSeen()
    {
        var seen = new SeenRevision[_fresh.Count];
        var i = 0;
        foreach (var (resource, range) in _fresh)
            seen[i++] = new SeenRevision(resource, range.Newest);
        _given = _fresh;
        _fresh = new Dictionary<string, (long, long)>(1, StringComparer.Ordinal);
        return seen;
    }

    /// <summary>The run has settled what it was given.</summary>
    public void Settle() => _given = null;

    /// <summary>The run failed: what it was given is to be seen by the next.</summary>
    public void Unsettle()
    {
        foreach (var (resource, range) in _given ?? [])
        {
            _fresh[resource] = _fresh.TryGetValue(resource, out var fresh)
                ? (Math.Min(range.Oldest, fresh.Oldest), Math.Max(range.Newest, fresh.Newest))
                : range;
        }
        _given = null;
    }

    /// <summary>The oldest unsettled revision per resource.</summary>
    public IEnumerable<(string Resource, long Oldest)> Unsettled()
    {
        foreach (var (resource, range) in _fresh)
            yield return (resource, range.Oldest);
        foreach (var (resource, range) in _given ?? [])
            yield return (resource, range.Oldest);
    }
}
