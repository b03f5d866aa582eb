using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Tests;

/// <summary>Writes histories by hand: every line is one operation with its interval in time, or one watch event.</summary>
internal sealed class Script
{
    public const string Maps = "configmaps";

    private readonly Observer _watcher = new() { Client = 99, Resource = Maps };
    private readonly WatchStream _stream = new() { Endpoint = "a", From = 0 };
    private int _id;

    public Script(bool watched = true)
    {
        History.Owned.Add(Maps);
        if (!watched)
            return;
        _watcher.Steps.Add(new ObserverStep(ListAt(-1, -1, 0), null));
        _watcher.Steps.Add(new ObserverStep(null, _stream));
        History.Observers.Enqueue(_watcher);
    }

    public History History { get; } = new();

    public static ObjectVersion Version(string key, long revision, string uid = "u", params (string Name, string Value)[] fields) =>
        new(key, revision, uid, Fields.Of(fields), $"{key}{revision}{Fields.Of(fields)}");

    public Script Write(Verb verb, long from, long to, ObjectVersion version, long? expected = null, Outcome outcome = Outcome.Ok, string reason = "", Change? change = null)
    {
        change ??= new Change(
            verb switch { Verb.Create => ChangeKind.Create, Verb.Patch => ChangeKind.Merge, _ => ChangeKind.Replace },
            version.Fields.Values.ToDictionary(p => p.Key, p => (string?)p.Value, StringComparer.Ordinal));
        return Add(new Operation
        {
            Id = ++_id,
            Client = 1,
            Verb = verb,
            Resource = Maps,
            Key = version.Key,
            Invoked = from,
            Completed = to,
            Outcome = outcome,
            Change = change,
            Answer = outcome == Outcome.Ok ? version : null,
            ExpectedRevision = expected,
            Reason = reason,
            Code = CodeOf(reason),
        });
    }

    public Script Create(long from, long to, ObjectVersion version) => Write(Verb.Create, from, to, version);

    public Script Update(long from, long to, ObjectVersion version, long? expected = null) => Write(Verb.Update, from, to, version, expected);

    public Script Patch(long from, long to, ObjectVersion version, params (string Name, string? Value)[] set) =>
        Write(Verb.Patch, from, to, version, change: Change.Merge(set));

    public Script Delete(long from, long to, string key, string uid = "u", Outcome outcome = Outcome.Ok) => Add(new Operation
    {
        Id = ++_id,
        Client = 1,
        Verb = Verb.Delete,
        Resource = Maps,
        Key = key,
        Invoked = from,
        Completed = to,
        Outcome = outcome,
        Change = Change.Delete,
        DeletedUid = outcome == Outcome.Ok ? uid : null,
    });

    public Script Get(long from, long to, string key, ObjectVersion? answer) => Add(new Operation
    {
        Id = ++_id,
        Client = 2,
        Verb = Verb.Get,
        Resource = Maps,
        Key = key,
        Invoked = from,
        Completed = to,
        Outcome = Outcome.Ok,
        Answer = answer,
    });

    public Script Refused(Verb verb, long from, long to, string key, string reason, long? expected = null) => Add(new Operation
    {
        Id = ++_id,
        Client = 2,
        Verb = verb,
        Resource = Maps,
        Key = key,
        Invoked = from,
        Completed = to,
        Outcome = Outcome.Failed,
        Reason = reason,
        Code = CodeOf(reason),
        ExpectedRevision = expected,
        Change = Change.Replace(("v", $"refused{_id}")),
    });

    public Script List(long from, long to, long revision, params ObjectVersion[] items) => Add(ListAt(from, to, revision, items));

    public Script Final(long at, long revision, params ObjectVersion[] items)
    {
        History.Final.Enqueue(ListAt(at, at, revision, items));
        return this;
    }

    public Script Event(long at, WatchEventType type, ObjectVersion version)
    {
        _stream.Events.Add(new WatchEvent(at, type, version.Revision, version));
        return this;
    }

    public Script Added(long at, ObjectVersion version) => Event(at, WatchEventType.Added, version);

    public Script Modified(long at, ObjectVersion version) => Event(at, WatchEventType.Modified, version);

    public Script Deleted(long at, ObjectVersion version) => Event(at, WatchEventType.Deleted, version);

    public Script Bookmark(long at, long revision)
    {
        _stream.Events.Add(new WatchEvent(at, WatchEventType.Bookmark, revision, null));
        return this;
    }

    /// <summary>A second follower of everything.</summary>
    public Script Watcher(params WatchEvent[] events)
    {
        var other = new Observer { Client = 98, Resource = Maps };
        other.Steps.Add(new ObserverStep(ListAt(-1, -1, 0), null));
        other.Steps.Add(new ObserverStep(null, new WatchStream { Endpoint = "b", From = 0, Events = [.. events] }));
        History.Observers.Enqueue(other);
        return this;
    }

    /// <summary>The follower is told 410 and lists again.</summary>
    public Script Relist(long at, long revision, params ObjectVersion[] items)
    {
        _stream.End = "expired";
        _watcher.Steps.Add(new ObserverStep(ListAt(at, at, revision, items), null));
        return this;
    }

    public Script Goal(long revision)
    {
        _watcher.Goal = revision;
        return this;
    }

    public Script Add(Operation operation)
    {
        History.Add(operation);
        return this;
    }

    private Operation ListAt(long from, long to, long revision, params ObjectVersion[] items) => new()
    {
        Id = ++_id,
        Client = 3,
        Verb = Verb.List,
        Resource = Maps,
        Key = "",
        Invoked = from,
        Completed = to,
        Outcome = Outcome.Ok,
        ListRevision = revision,
        Items = items,
    };

    private static int CodeOf(string reason) => reason switch { "NotFound" => 404, "AlreadyExists" or "Conflict" => 409, _ => 0 };
}
