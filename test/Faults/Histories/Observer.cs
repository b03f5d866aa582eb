namespace OrleansCluster.Faults.Histories;

internal enum WatchEventType
{
    Added,
    Modified,
    Deleted,
    Bookmark,
}

/// <summary>One line of a watch.</summary>
/// <param name="At">When the client read it.</param>
/// <param name="Type">What it says.</param>
/// <param name="Revision">The object's revision, or the bookmark's.</param>
/// <param name="Object">The object; null for a bookmark.</param>
internal sealed record WatchEvent(long At, WatchEventType Type, long Revision, ObjectVersion? Object);

/// <summary>One watch request from its start to its end.</summary>
internal sealed class WatchStream
{
    public required string Endpoint { get; init; }

    /// <summary>The revision it was asked to go on from.</summary>
    public required long From { get; init; }

    public List<WatchEvent> Events { get; init; } = [];

    /// <summary>How it ended: `expired` (410), or what broke it.</summary>
    public string End { get; set; } = "";
}

/// <summary>A list, or a watch that went on from where the list or the watch before it ended. Exactly one of the two is set.</summary>
internal sealed record ObserverStep(Operation? List, WatchStream? Stream);

/// <summary>
/// A client that follows a resource: list, watch from its revision, watch again from the last revision seen when the stream breaks, list again on 410.
/// </summary>
internal sealed class Observer
{
    public required int Client { get; init; }

    public required string Resource { get; init; }

    /// <summary>The namespace it looks at; empty for all of them.</summary>
    public string Namespace { get; init; } = "";

    public List<ObserverStep> Steps { get; init; } = [];

    /// <summary>The last revision it has seen.</summary>
    public long Last { get; set; }

    /// <summary>The revision it had to reach before it was ended, because everything was quiet at it; 0 for none.</summary>
    public long Goal { get; set; }

    public bool Sees(string key) => Namespace.Length == 0 || key.StartsWith(Namespace + "/", StringComparison.Ordinal);

    public override string ToString() => $"observer {Client} of {Resource}{(Namespace.Length == 0 ? "" : " in " + Namespace)}";
}
