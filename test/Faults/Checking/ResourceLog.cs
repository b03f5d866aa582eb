using OrleansCluster.Faults.Histories;

namespace OrleansCluster.Faults.Checking;

/// <summary>
/// The log of one resource, merged from all that was seen: answers, lists and watches. Here observers that contradict each other are found, and
/// lists that do not show the state of their revision.
/// </summary>
internal sealed class ResourceLog
{
    /// <summary>Revisions have no gaps within an epoch, and a new epoch begins far above.</summary>
    public const long EpochGap = 1 << 20;

    private readonly History _history;
    private readonly Verdict _verdict;
    private readonly SortedDictionary<long, Entry> _entries = [];
    private readonly List<long> _epochs = [];
    private readonly HashSet<long> _acknowledged = [];
    private readonly HashSet<string> _acknowledgedRemovals = new(StringComparer.Ordinal);

    private ResourceLog(string resource, History history, Verdict verdict)
    {
        Resource = resource;
        _history = history;
        _verdict = verdict;
    }

    public string Resource { get; }

    public Coverage Coverage { get; } = new();

    /// <summary>Changes that a change of epoch has undone.</summary>
    public List<Entry> Undone { get; } = [];

    public IReadOnlyList<Operation> Operations { get; private set; } = [];

    public IReadOnlyList<Observer> Observers { get; private set; } = [];

    public IReadOnlyList<Operation> Lists { get; private set; } = [];

    /// <summary>Per key its changes in order.</summary>
    public Dictionary<string, List<Entry>> Keys { get; } = new(StringComparer.Ordinal);

    public IEnumerable<Entry> Entries => _entries.Values;

    public Entry? Find(long position) => _entries.GetValueOrDefault(position);

    /// <param name="resource">Which.</param>
    /// <param name="history">All that was recorded.</param>
    /// <param name="mayLose">True: a change of epoch may lose acknowledged writes (a failover without waiting for replicas).</param>
    /// <param name="verdict">Takes what is wrong.</param>
    public static ResourceLog Build(string resource, History history, bool mayLose, Verdict verdict)
    {
        var log = new ResourceLog(resource, history, verdict);
        log.Operations = [.. history.Operations.Where(o => o.Resource == resource).OrderBy(o => o.Completed).ThenBy(o => o.Id)];
        log.Observers = [.. history.Observers.Where(o => o.Resource == resource)];
        log.Lists =
        [
            .. log.Operations.Where(o => o is { Verb: Verb.List, Outcome: Outcome.Ok }),
            .. log.Observers.SelectMany(o => o.Steps).Select(s => s.List).OfType<Operation>(),
            .. history.Final.Where(f => f.Resource == resource),
        ];
        log.Gather();
        log.FindEpochs();
        foreach (var entry in log._entries.Values)
            log.Chain(entry.Key).Add(entry);
        foreach (var list in log.Lists.OrderBy(l => l.ListRevision))
            log.Compare(list, mayLose);
        log.InferRemovals();
        return log;
    }

    /// <summary>Which epoch a revision belongs to.</summary>
    public int EpochOf(long revision)
    {
        var at = _epochs.BinarySearch(revision);
        return at >= 0 ? at + 1 : ~at;
    }

    /// <summary>Takes a change out that a change of epoch has undone.</summary>
    public void Undo(Entry entry, bool mayLose)
    {
        Keys[entry.Key].Remove(entry);
        _entries.Remove(entry.Position);
        Undone.Add(entry);
        if (IsAcknowledged(entry) && mayLose)
            _verdict.LostByPermission.Add($"{Resource} {entry}");
        else
            _verdict.RolledBack.Add($"{Resource} {entry}");
    }

    public bool IsAcknowledged(Entry entry) =>
        entry.Version is null ? _acknowledgedRemovals.Contains(entry.Uid) : _acknowledged.Contains(entry.Revision);

    private List<Entry> Chain(string key)
    {
        if (!Keys.TryGetValue(key, out var chain))
            Keys[key] = chain = [];
        return chain;
    }

    private void Gather()
    {
        foreach (var write in Operations.Where(o => o is { IsWrite: true, Outcome: Outcome.Ok }))
        {
            if (write is { Verb: Verb.Delete, DeletedUid: { } uid })
                _acknowledgedRemovals.Add(uid);
            else if (write is { Verb: not Verb.Delete, Answer: { } answer })
                _acknowledged.Add(answer.Revision);
        }
        foreach (var operation in Operations.Where(o => o.Outcome == Outcome.Ok && o.Answer is not null && o.Verb is not (Verb.Delete or Verb.List)))
            Put(operation.Answer!, observed: operation.Verb == Verb.Get, operation.ToString());
        foreach (var list in Lists)
        {
            foreach (var item in list.Items)
                Put(item, observed: true, list.ToString());
        }
        foreach (var observer in Observers)
        {
            foreach (var stream in observer.Steps.Select(s => s.Stream).OfType<WatchStream>())
            {
                foreach (var e in stream.Events.Where(e => e.Object is not null))
                {
                    _verdict.Events++;
                    if (e.Type == WatchEventType.Deleted)
                        Remove(e, observer.ToString());
                    else
                        Put(e.Object! with { Revision = e.Revision }, observed: true, observer.ToString());
                }
                // Where a stream jumped over an epoch's end (which is reported where streams are checked) it covers only what came before.
                var through = stream.From;
                foreach (var e in stream.Events)
                {
                    if (e.Revision - through > EpochGap)
                        break;
                    through = Math.Max(through, e.Revision);
                }
                if (observer.Namespace.Length == 0)
                    Coverage.Add(stream.From, through);
            }
        }
        Coverage.Close();
    }

    private void Put(ObjectVersion version, bool observed, string who)
    {
        if (!_entries.TryGetValue(2 * version.Revision, out var known))
        {
            _entries[2 * version.Revision] = new Entry { Position = 2 * version.Revision, Key = version.Key, Uid = version.Uid, Version = version, Observed = observed };
            return;
        }
        known.Observed |= observed;
        if (known.Version is null || known.Key != version.Key || known.Version.Digest != version.Digest)
            _verdict.Add(Rule.TwoHistories, $"{Resource}: {who} saw {version}, others saw {known} at that revision");
    }

    private void Remove(WatchEvent e, string who)
    {
        var removed = e.Object!;
        if (!_entries.TryGetValue(2 * e.Revision, out var known))
            _entries[2 * e.Revision] = new Entry { Position = 2 * e.Revision, Key = removed.Key, Uid = removed.Uid, Version = null, Observed = true };
        else if (known.Version is not null || known.Key != removed.Key || known.Uid != removed.Uid)
            _verdict.Add(Rule.TwoHistories, $"{Resource}: {who} saw the removal of {removed}, others saw {known} at that revision");
    }

    private void FindEpochs()
    {
        long last = 0;
        foreach (var revision in _entries.Values.Select(e => e.Revision).Concat(Lists.Select(l => l.ListRevision)).Where(r => r > 0).Order())
        {
            if (revision - last > EpochGap)
                _epochs.Add(revision);
            last = revision;
        }
    }

    /// <summary>A list must show, of every object, the newest change up to the list's revision.</summary>
    private void Compare(Operation list, bool mayLose)
    {
        var shown = list.Items.ToDictionary(i => i.Key, StringComparer.Ordinal);
        foreach (var (key, chain) in Keys)
        {
            if (list.Key.Length > 0 && !key.StartsWith(list.Key + "/", StringComparison.Ordinal))
                continue;
            shown.TryGetValue(key, out var item);
            if (item is not null && item.Revision > list.ListRevision)
                _verdict.Add(Rule.List, $"{list} shows {item}, which is newer than the list");
            var last = chain.FindLastIndex(e => e.Position <= 2 * list.ListRevision);
            var newest = last < 0 ? null : chain[last];
            if (item is null ? newest?.Version is null : newest?.Revision == item.Revision)
                continue;
            if (newest is null)
                _verdict.Add(Rule.List, $"{list} shows {item}, which nobody else knows of");
            else
                Missing(list, chain, last, item, mayLose);
        }
    }

    private void Missing(Operation list, List<Entry> chain, int last, ObjectVersion? item, bool mayLose)
    {
        // Changes of an earlier epoch that the list of a later one does not know were undone in between.
        var newest = chain[last];
        var undone = chain.Take(last + 1).Where(e => e.Revision > (item?.Revision ?? 0) && EpochOf(e.Revision) < EpochOf(list.ListRevision)).ToList();
        var all = undone.Count > 0 && undone[^1] == newest;
        if (all && item is not null && undone.TrueForAll(e => mayLose || !IsAcknowledged(e)))
        {
            undone.ForEach(e => Undo(e, mayLose));
            return;
        }
        if (all && item is null && undone.TrueForAll(e => mayLose || !IsAcknowledged(e)) && (last + 1 == undone.Count || chain[last - undone.Count].Version is null))
        {
            undone.ForEach(e => Undo(e, mayLose));
            return;
        }
        if (item is null && newest.Version is not null && !Coverage.Covers(newest.Revision, list.ListRevision))
        {
            // Removed where nobody looked; whether somebody asked for that is checked with all other removals.
            chain.Insert(last + 1, new Entry
            {
                Position = newest.Position + 1,
                Key = newest.Key,
                Uid = newest.Uid,
                Version = null,
                Sure = 2 * list.ListRevision,
            });
            return;
        }
        var lost = chain.Take(last + 1).LastOrDefault(e => e.Revision > (item?.Revision ?? 0) && IsAcknowledged(e));
        if (lost is not null)
            _verdict.Add(Rule.LostWrite, $"{list} shows {item?.ToString() ?? "nothing"} for {newest.Key} although {lost} was acknowledged");
        else
            _verdict.Add(Rule.List, $"{list} shows {item?.ToString() ?? "nothing"} for {newest.Key} instead of {newest}");
    }

    /// <summary>An object that comes back with another uid was removed in between, seen or not.</summary>
    private void InferRemovals()
    {
        foreach (var chain in Keys.Values)
        {
            for (var i = 1; i < chain.Count; i++)
            {
                if (chain[i].Version is null || chain[i - 1].Version is null || chain[i].Uid == chain[i - 1].Uid)
                    continue;
                if (Coverage.Covers(chain[i - 1].Revision, chain[i].Revision))
                    _verdict.Add(Rule.WatchGap, $"{Resource}: {chain[i]} has another uid than {chain[i - 1]}, and no removal was seen in between");
                chain.Insert(i, new Entry
                {
                    Position = chain[i].Position - 1,
                    Key = chain[i].Key,
                    Uid = chain[i - 1].Uid,
                    Version = null,
                    Least = chain[i - 1].Position + 1,
                });
            }
        }
    }
}
