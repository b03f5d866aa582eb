using System.Globalization;
using System.Runtime.CompilerServices;
using StackExchange.Redis;

namespace OrleansCluster.Storage;

/// <summary>
/// Reads and writes the keys of a Redis store from outside of it; <see cref="RedisObjectStore"/> tells what they hold.
/// <para>
/// Reading, per resource: one transaction (MULTI) fetches the revision and all that is small: which object is current at which revision, claims, fences,
/// queues. That is the moment the resource is exported at. The values are then fetched by their revisions, in pages: a value never changes, and is
/// there until compaction has passed what superseded it, minutes later; should that happen nevertheless, the resource is read anew.
/// </para>
/// <para>
/// Writing: (1) the key `PREFIX:import` and a mark in each resource's meta hash say that the store is half-imported: with the mark, no process can open
/// the resource (open.lua), and those that had it open are refused by the guard. (2) What was there is dropped, the records are written. (3) Each resource
/// gets its new epoch and loses its mark, and at last the key goes.
/// </para>
/// </summary>
public sealed class RedisTransfer : IStoreTransfer
{
    private const int MaxReadAttempts = 8;
    private const int Page = 512;

    /// <summary>Bytes of values gathered before they are sent.</summary>
    private const int BatchBytes = 1 << 20;

    private readonly RedisStoreOptions _options;
    private readonly TimeProvider _time;
    private ConnectionMultiplexer? _multiplexer;

    /// <param name="options">The store's options.</param>
    /// <param name="time">The clock: of the header, and of the epoch that an import begins.</param>
    public RedisTransfer(RedisStoreOptions options, TimeProvider time)
    {
        _options = options;
        _time = time;
    }

    /// <summary>True to import although processes of a cluster are connected: their calls fail until it is done.</summary>
    public bool Force { get; init; }

    /// <inheritdoc/>
    public string Source => "redis";

    /// <inheritdoc/>
    public string Description =>
        $"the Redis store '{_options.KeyPrefix}' at {string.Join(", ", ConfigurationOptions.Parse(_options.ConnectionString).EndPoints.Select(e => e.ToString()!.Replace("Unspecified/", "", StringComparison.Ordinal)))}";

    private RedisKey Marker => MarkerOf(_options);

    /// <summary>The key that is there while an import is under way, or after one that did not end.</summary>
    internal static RedisKey MarkerOf(RedisStoreOptions options) => options.KeyPrefix + ":import";

    /// <inheritdoc/>
    public async ValueTask<StoreCondition> GetConditionAsync(CancellationToken cancellationToken)
    {
        var database = await ConnectAsync(cancellationToken);
        if (await AskAsync(() => database.KeyExistsAsync(Marker, CommandFlags.DemandMaster)))
            return StoreCondition.HalfImported;
        foreach (var (name, kinds) in await FindAsync(cancellationToken))
        {
            // A process that has only looked leaves a meta hash at revision 0.
            if (kinds.Exists(k => k is "k" or "f" || k.EndsWith(":i", StringComparison.Ordinal)))
                return StoreCondition.Filled;
            if (await AskAsync(() => database.HashGetAsync(new RedisResource(_options.KeyPrefix, name).Meta, "rev", CommandFlags.DemandMaster)) is { IsNull: false } revision && (long)revision > 0)
                return StoreCondition.Filled;
        }
        return StoreCondition.Empty;
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<StoreRecord> ReadAllAsync(Action<string>? onProblem, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var database = await ConnectAsync(cancellationToken);
        var names = (await FindAsync(cancellationToken)).Keys.Order(StringComparer.Ordinal).ToArray();
        yield return new HeaderRecord(_time.GetUtcNow(), Source, names);
        foreach (var name in names)
        {
            var resource = new RedisResource(_options.KeyPrefix, name);
            var attempt = 0;
            // Values first into memory where a retry may throw them away: bounded, because they are kept as stored, a fifth of their size.
            var (frame, values) = await ReadResourceAsync(database, resource, cancellationToken);
            while (values is null)
            {
                if (++attempt == MaxReadAttempts)
                    throw new StoreUnavailableException($"{name} is compacted faster than it can be read.");
                (frame, values) = await ReadResourceAsync(database, resource, cancellationToken);
            }
            yield return new ResourceRecord(name, frame.Revision);
            foreach (var problem in frame.Problems)
                Report($"{name}: {problem}", onProblem);
            for (var i = 0; i < frame.Objects.Length; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var (key, revision) = frame.Objects[i];
                byte[]? value = null;
                if (values[i] is not { } stored)
                {
                    Report($"{name} '{key}': the value of its revision {revision} is missing.", onProblem);
                    continue;
                }
                try
                {
                    value = ValueCodec.Decode(stored);
                }
                catch (InvalidDataException e)
                {
                    Report($"{name} '{key}': {e.Message}", onProblem);
                }
                if (value is not null)
                    yield return new ObjectRecord(key, revision, value, frame.Claims.GetValueOrDefault(key, []));
            }
            foreach (var (fence, value) in frame.Fences)
                yield return new FenceRecord(fence, value);
            foreach (var item in frame.Queued)
                yield return item;
        }
    }

    /// <inheritdoc/>
    public async ValueTask<LogInspection> InspectLogAsync(string resource, CancellationToken cancellationToken)
    {
        var database = await ConnectAsync(cancellationToken);
        var target = new RedisResource(_options.KeyPrefix, resource);
        for (var attempt = 0; ; attempt++)
        {
            var before = await AskAsync(() => database.HashGetAsync(target.Meta, ["rev", "compact", "swept", "epoch"], CommandFlags.DemandMaster));
            var (revision, compacted, swept) = ((long)before[0], (long)before[1], (long)before[2]);
            List<string> problems = [];
            long entries = 0, last = swept;
            RedisValue from = Text(swept + 1);
            while (true)
            {
                var page = await AskAsync(() => database.StreamRangeAsync(target.Log, from, Text(revision), 256, flags: CommandFlags.DemandMaster));
                foreach (var entry in page)
                {
                    var id = Id(entry.Id);
                    if (entry.Values is [{ } only] && only.Value == "e0")
                        continue; // The beginning of an epoch.
                    var first = id - entry.Values.Length + 1;
                    if (first > last + 1 && problems.Count < 10)
                        problems.Add($"The log has a gap: {last} is followed by {first}.");
                    entries += id - Math.Max(last, compacted) is var more and > 0 ? more : 0;
                    last = id;
                }
                if (page.Length < 256)
                    break;
                from = Text(Id(page[^1].Id) + 1);
            }
            if (last < revision && revision > compacted)
                problems.Add($"The log ends at {last}, but the revision is {revision}.");
            var after = await AskAsync(() => database.HashGetAsync(target.Meta, ["rev", "compact", "swept", "epoch"], CommandFlags.DemandMaster));
            if ((after[2] != before[2] || after[3] != before[3]) && attempt < MaxReadAttempts)
                continue; // Compacted meanwhile.
            return new LogInspection(revision, compacted, entries, await MemoryAsync(database, resource, cancellationToken), problems);
        }
    }

    /// <inheritdoc/>
    public async Task WriteAllAsync(IAsyncEnumerable<StoreRecord> records, bool replace, CancellationToken cancellationToken)
    {
        var database = await ConnectAsync(cancellationToken);
        var condition = await GetConditionAsync(cancellationToken);
        if (condition != StoreCondition.Empty && !replace)
        {
            throw new StoreImportException(condition == StoreCondition.HalfImported
                ? $"An import into {Description} did not end. Import again with --replace."
                : $"T{Description[1..]} is not empty. Import with --replace to drop what is in it.");
        }
        if (!Force)
            await RefuseWhileInUseAsync(cancellationToken);
        var import = new Import(database, _options.KeyPrefix, _time.GetUtcNow());
        await AskAsync(() => database.StringSetAsync(Marker, _time.GetUtcNow().ToString("O", CultureInfo.InvariantCulture), flags: CommandFlags.DemandMaster));
        foreach (var (name, kinds) in await FindAsync(cancellationToken))
            await AskAsync(() => import.ClearAsync(name, kinds));
        await foreach (var record in records.WithCancellation(cancellationToken))
        {
            if (import.Add(record) >= BatchBytes || record is ResourceRecord)
                await AskAsync(import.SendAsync);
        }
        await AskAsync(import.SendAsync);
        await AskAsync(import.FinishAsync);
        await AskAsync(() => database.KeyDeleteAsync(Marker, CommandFlags.DemandMaster));
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (_multiplexer is not null)
            await _multiplexer.DisposeAsync();
    }

    private async ValueTask<(Frame Frame, byte[]?[]? Values)> ReadResourceAsync(IDatabase database, RedisResource resource, CancellationToken cancellationToken)
    {
        var frame = await ReadFrameAsync(database, resource, cancellationToken);
        var values = new byte[]?[frame.Objects.Length];
        for (var at = 0; at < values.Length; at += Page)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var size = Math.Min(Page, values.Length - at);
            var revisions = new RedisValue[size];
            for (var i = 0; i < size; i++)
                revisions[i] = Text(frame.Objects[at + i].Revision);
            var page = await AskAsync(() => database.HashGetAsync(resource.Values, revisions, CommandFlags.DemandMaster));
            for (var i = 0; i < size; i++)
            {
                values[at + i] = (byte[]?)page[i];
                // Gone, though still current: it is missing. Gone and superseded: compaction was faster.
                if (values[at + i] is null
                    && await AskAsync(() => database.HashGetAsync(resource.Objects, frame.Objects[at + i].Key, CommandFlags.DemandMaster)) != revisions[i])
                {
                    return (frame, null);
                }
            }
        }
        return (frame, values);
    }

    /// <summary>Everything but the values, of one moment.</summary>
    private async ValueTask<Frame> ReadFrameAsync(IDatabase database, RedisResource resource, CancellationToken cancellationToken)
    {
        var queues = QueuesOf(await FindAsync(cancellationToken), resource.Name);
        for (var attempt = 0; attempt < MaxReadAttempts; attempt++)
        {
            // CommitKeys: meta, objects, values, log, claims, owners, fences.
            var transaction = database.CreateTransaction();
            var meta = transaction.HashGetAsync(resource.Meta, "rev");
            var objects = transaction.HashGetAllAsync(resource.Objects);
            var claims = transaction.HashGetAllAsync(resource.CommitKeys[4]);
            var owners = transaction.HashGetAllAsync(resource.CommitKeys[5]);
            var fences = transaction.HashGetAllAsync(resource.Fences);
            var queued = Array.ConvertAll(queues, q => transaction.HashGetAllAsync(resource.Queue(q)[1]));
            await AskAsync(() => transaction.ExecuteAsync(CommandFlags.DemandMaster));
            // A queue's first item ever may have come between the look for queues and the transaction. Its stream stays, so one more look tells.
            var found = QueuesOf(await FindAsync(cancellationToken), resource.Name);
            if (found.Length != queues.Length)
            {
                queues = found;
                continue;
            }
            return new Frame(await meta, await objects, await claims, await owners, await fences, queues, await Task.WhenAll(queued));
        }
        throw new StoreUnavailableException($"Queues of {resource.Name} are made faster than they can be read.");
    }

    private static string[] QueuesOf(Dictionary<string, List<string>> found, string resource) =>
    [
        .. found.GetValueOrDefault(resource, []).Where(k => k.StartsWith("q:", StringComparison.Ordinal) && k.EndsWith(":w", StringComparison.Ordinal))
            .Select(k => k[2..^2]).Order(StringComparer.Ordinal),
    ];

    /// <summary>The store's keys: per resource the last parts of their names.</summary>
    private async ValueTask<Dictionary<string, List<string>>> FindAsync(CancellationToken cancellationToken)
    {
        var database = await ConnectAsync(cancellationToken);
        var found = new Dictionary<string, HashSet<string>>(StringComparer.Ordinal);
        var prefix = $"{{{_options.KeyPrefix}:";
        try
        {
            foreach (var server in database.Multiplexer.GetServers().Where(s => s.IsConnected && !s.IsReplica && s.ServerType != ServerType.Sentinel))
            {
                await foreach (var key in server.KeysAsync(database.Database, prefix + "*", 1000).WithCancellation(cancellationToken))
                {
                    var text = (string)key!;
                    var end = text.IndexOf('}', StringComparison.Ordinal);
                    if (end < 0 || end + 2 > text.Length || text[end + 1] != ':')
                        continue;
                    var name = text[prefix.Length..end];
                    if (!found.TryGetValue(name, out var kinds))
                        found[name] = kinds = new HashSet<string>(StringComparer.Ordinal);
                    kinds.Add(text[(end + 2)..]);
                }
            }
        }
        catch (Exception e) when (RedisErrors.IsOutage(e))
        {
            throw RedisErrors.Unavailable(e);
        }
        return found.ToDictionary(f => f.Key, f => f.Value.ToList(), StringComparer.Ordinal);
    }

    // Every process that uses the store has connections by its prefix's name. One that is just going away is given a moment.
    private async Task RefuseWhileInUseAsync(CancellationToken cancellationToken)
    {
        const int looks = 20;
        var database = await ConnectAsync(cancellationToken);
        var name = $" name={RedisStoreOptions.ClientName(_options.KeyPrefix, "")}";
        for (var look = 1; ; look++)
        {
            string[] clients;
            try
            {
                var lists = await Task.WhenAll(database.Multiplexer.GetServers().Where(s => s.IsConnected && s.ServerType != ServerType.Sentinel)
                    .Select(s => s.ExecuteAsync("CLIENT", ["LIST"], CommandFlags.DemandMaster)));
                clients = [.. lists.SelectMany(l => ((string)l!).Split('\n'))
                    .Where(l => l.Contains(name, StringComparison.Ordinal) && !l.Contains(name + "transfer", StringComparison.Ordinal))
                    .Select(l => l.Split(' ').FirstOrDefault(p => p.StartsWith("addr=", StringComparison.Ordinal), "addr=?")[5..])];
            }
            catch (RedisServerException e)
            {
                throw new StoreImportException($"Whether anybody uses {Description} cannot be seen ({e.Message}). Import with --force if you know that nobody does.");
            }
            catch (Exception e) when (RedisErrors.IsOutage(e))
            {
                throw RedisErrors.Unavailable(e);
            }
            if (clients.Length == 0)
                return;
            if (look == looks)
            {
                throw new StoreImportException(
                    $"T{Description[1..]} is in use: {clients.Length} connections, from {string.Join(", ", clients.Take(4))}. Stop the silos and API servers, or import with --force: "
                    + "their calls then fail until it is done, and their watchers start anew.");
            }
            // The real clock: it is other processes that are waited for.
            await Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, cancellationToken);
        }
    }

    private async ValueTask<long> MemoryAsync(IDatabase database, string name, CancellationToken cancellationToken)
    {
        long bytes = 0;
        foreach (var kind in (await FindAsync(cancellationToken)).GetValueOrDefault(name, []))
        {
            var result = await AskAsync(() => database.ExecuteAsync("MEMORY", ["USAGE", (RedisKey)$"{{{_options.KeyPrefix}:{name}}}:{kind}", "SAMPLES", 1000], CommandFlags.DemandMaster));
            bytes += result.IsNull ? 0 : (long)result;
        }
        return bytes;
    }

    private async ValueTask<IDatabase> ConnectAsync(CancellationToken cancellationToken)
    {
        if (_multiplexer is null)
        {
            try
            {
                var configuration = _options.ToConfiguration("transfer");
                configuration.AbortOnConnectFail = true;
                // One answer may be all keys of a large resource.
                configuration.AsyncTimeout = configuration.SyncTimeout = 60_000;
                _multiplexer = await ConnectionMultiplexer.ConnectAsync(configuration).WaitAsync(cancellationToken);
            }
            catch (Exception e) when (RedisErrors.IsOutage(e))
            {
                throw new StoreUnavailableException($"T{Description[1..]} does not answer ({e.GetBaseException().Message}). Is it running, and are user and password right?", e);
            }
        }
        return _multiplexer.GetDatabase();
    }

    private static async ValueTask AskAsync(Func<Task> ask)
    {
        try
        {
            await ask();
        }
        catch (Exception e) when (RedisErrors.IsOutage(e))
        {
            throw RedisErrors.Unavailable(e);
        }
    }

    private static async ValueTask<T> AskAsync<T>(Func<Task<T>> ask)
    {
        try
        {
            return await ask();
        }
        catch (Exception e) when (RedisErrors.IsOutage(e))
        {
            throw RedisErrors.Unavailable(e);
        }
    }

    private static void Report(string problem, Action<string>? onProblem)
    {
        if (onProblem is null)
            throw new InvalidDataException(problem);
        onProblem(problem);
    }

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private static long Id(RedisValue id) => long.Parse(((string)id!).AsSpan(0, ((string)id!).IndexOf('-', StringComparison.Ordinal)), CultureInfo.InvariantCulture);

    /// <summary>A resource at one moment, without its values.</summary>
    private sealed class Frame
    {
        public Frame(RedisValue revision, HashEntry[] objects, HashEntry[] claims, HashEntry[] owners, HashEntry[] fences, string[] queues, HashEntry[][] queued)
        {
            Revision = (long)revision;
            Objects = Array.ConvertAll(objects, o => ((string)o.Name!, (long)o.Value));
            Array.Sort(Objects, static (x, y) => x.Item2.CompareTo(y.Item2));
            Fences = Array.ConvertAll(fences, f => ((string)f.Name!, (long)f.Value));
            var ownerOf = claims.ToDictionary(c => (string)c.Name!, c => (string)c.Value!, StringComparer.Ordinal);
            foreach (var held in owners)
            {
                var key = (string)held.Name!;
                var names = ((string)held.Value!).Split('\n');
                Claims[key] = names;
                foreach (var claim in names)
                {
                    if (!ownerOf.Remove(claim, out var owner) || !string.Equals(owner, key, StringComparison.Ordinal))
                        Problems.Add($"'{key}' holds the claim '{claim}', which belongs to {(owner is null ? "nobody" : $"'{owner}'")}.");
                }
            }
            foreach (var (claim, owner) in ownerOf)
                Problems.Add($"The claim '{claim}' belongs to '{owner}', which does not hold it.");
            for (var q = 0; q < queues.Length; q++)
            {
                var items = new List<(string Sequence, QueueRecord Item)>();
                foreach (var item in queued[q])
                {
                    // 'inverted-priority priority sequence enqueued-at attempt lease', see queue.lua.
                    var parts = ((string)item.Value!).Split(' ');
                    items.Add((parts[2], new QueueRecord(
                        queues[q], (string)item.Name!, long.Parse(parts[1], CultureInfo.InvariantCulture),
                        RedisClock.ToTime(long.Parse(parts[3], CultureInfo.InvariantCulture)))));
                }
                items.Sort(static (x, y) => string.CompareOrdinal(x.Sequence, y.Sequence));
                Queued.AddRange(items.Select(i => i.Item));
            }
        }

        public long Revision { get; }

        public (string Key, long Revision)[] Objects { get; }

        public Dictionary<string, string[]> Claims { get; } = new(StringComparer.Ordinal);

        public (string Name, long Value)[] Fences { get; }

        public List<QueueRecord> Queued { get; } = [];

        public List<string> Problems { get; } = [];
    }

    /// <summary>An import under way: what has been read of it and not yet sent.</summary>
    private sealed class Import(IDatabase database, string prefix, DateTimeOffset now)
    {
        private readonly Dictionary<string, (long Epoch, long Start)> _resources = new(StringComparer.Ordinal);
        private readonly List<HashEntry> _objects = [];
        private readonly List<HashEntry> _values = [];
        private readonly List<HashEntry> _claims = [];
        private readonly List<HashEntry> _owners = [];
        private readonly List<HashEntry> _fences = [];
        private readonly List<Func<IBatch, Task>> _queueWrites = [];
        private RedisResource? _resource;
        private RedisResource? _next;
        private long _nextRevision;
        private long _sequence;
        private int _bytes;

        /// <summary>Marks a resource that is there and drops all but its meta hash.</summary>
        public async Task ClearAsync(string name, List<string> kinds)
        {
            var resource = new RedisResource(prefix, name);
            var meta = await database.HashGetAsync(resource.Meta, ["rev", "epoch"], CommandFlags.DemandMaster);
            await MarkAsync(resource, (long)meta[0], (long)meta[1]);
            foreach (var kind in kinds.Where(k => k != "m"))
                await database.ExecuteAsync("UNLINK", [(RedisKey)$"{{{prefix}:{name}}}:{kind}"], CommandFlags.DemandMaster);
        }

        /// <summary>Takes a record; returns the bytes that wait.</summary>
        public int Add(StoreRecord record)
        {
            switch (record)
            {
                case ResourceRecord begun:
                    // What waits belongs to the one before; SendAsync moves on.
                    (_next, _nextRevision) = (new RedisResource(prefix, begun.Resource), begun.Revision);
                    break;
                case ObjectRecord item:
                    var value = ValueCodec.Encode(item.Value);
                    _objects.Add(new HashEntry(item.Key, Text(item.Revision)));
                    _values.Add(new HashEntry(Text(item.Revision), value));
                    if (item.Claims.Count > 0)
                        _owners.Add(new HashEntry(item.Key, string.Join('\n', item.Claims)));
                    foreach (var claim in item.Claims)
                        _claims.Add(new HashEntry(claim, item.Key));
                    _bytes += value.Length + (2 * item.Key.Length) + 64;
                    break;
                case FenceRecord fence:
                    _fences.Add(new HashEntry(fence.Name, Text(StoreEpoch.First(fence.Value, now))));
                    _bytes += 64;
                    break;
                case QueueRecord item:
                    AddQueueItem(item);
                    _bytes += 256;
                    break;
            }
            return _bytes;
        }

        /// <summary>Writes what waits, then begins the next resource if one was named.</summary>
        public async Task SendAsync()
        {
            if (_resource is { } resource)
            {
                var batch = database.CreateBatch();
                List<Task> tasks = [];
                Write(resource.Objects, _objects);
                Write(resource.Values, _values);
                Write(resource.CommitKeys[4], _claims);
                Write(resource.CommitKeys[5], _owners);
                Write(resource.Fences, _fences);
                foreach (var write in _queueWrites)
                    tasks.Add(write(batch));
                _queueWrites.Clear();
                batch.Execute();
                await Task.WhenAll(tasks);

                void Write(RedisKey key, List<HashEntry> entries)
                {
                    foreach (var part in entries.Chunk(Page))
                        tasks.Add(batch.HashSetAsync(key, part, CommandFlags.DemandMaster));
                    entries.Clear();
                }
            }
            _bytes = 0;
            if (_next is null)
                return;
            _resource = _next;
            _next = null;
            var there = _resources.GetValueOrDefault(_resource.Name);
            await MarkAsync(_resource, Math.Max(_nextRevision, there.Start - 1), Math.Max(there.Epoch - 1, 0));
        }

        /// <summary>Lets every resource begin its new epoch.</summary>
        public async Task FinishAsync()
        {
            foreach (var (name, (epoch, start)) in _resources)
            {
                var resource = new RedisResource(prefix, name);
                var text = Text(start);
                var transaction = database.CreateTransaction();
                var marker = transaction.ExecuteAsync("XADD", [resource.Log, text + "-0", "", "e0"], CommandFlags.DemandMaster);
                var meta = transaction.HashSetAsync(
                    resource.Meta,
                    [
                        new("epoch", Text(epoch)), new("rev", text), new("compact", text), new("swept", text), new("floor", text), new("adopted", text),
                        new("seq", text), new("lease", text), new("bytes", "0"),
                    ],
                    CommandFlags.DemandMaster);
                var mark = transaction.HashDeleteAsync(resource.Meta, "importing", CommandFlags.DemandMaster);
                await transaction.ExecuteAsync(CommandFlags.DemandMaster);
                await marker;
                await meta;
                await mark;
            }
        }

        // Without its run no script of another process works on it, and with the mark none can open it anew.
        private async Task MarkAsync(RedisResource resource, long revision, long epoch)
        {
            _resources[resource.Name] = (epoch + 1, StoreEpoch.First(revision, now));
            var transaction = database.CreateTransaction();
            var mark = transaction.HashSetAsync(resource.Meta, "importing", "1", flags: CommandFlags.DemandMaster);
            var run = transaction.HashDeleteAsync(resource.Meta, "run", CommandFlags.DemandMaster);
            await transaction.ExecuteAsync(CommandFlags.DemandMaster);
            await mark;
            await run;
        }

        private void AddQueueItem(QueueRecord item)
        {
            // As queue.lua enqueues: items, ready, age, wake.
            var keys = _resource!.Queue(item.Queue);
            var inverted = RedisCommitCodec.Inverted(item.Priority);
            var sequence = (++_sequence).ToString("D16", CultureInfo.InvariantCulture);
            var at = (item.EnqueuedAt - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;
            var entry = $"{inverted} {Text(item.Priority)} {sequence} {Text(at)} 0 0";
            _queueWrites.Add(batch => Task.WhenAll(
                batch.HashSetAsync(keys[1], item.Key, entry, flags: CommandFlags.DemandMaster),
                batch.SortedSetAddAsync(keys[2], $"{inverted}:{sequence}:{item.Key}", 0, flags: CommandFlags.DemandMaster),
                batch.SortedSetAddAsync(keys[5], item.Key, at, flags: CommandFlags.DemandMaster),
                batch.StreamAddAsync(keys[6], "w", "", maxLength: 1, flags: CommandFlags.DemandMaster)));
        }
    }
}
