using System.Text.Json;
using OrleansCluster.Faults.Histories;
using OrleansCluster.Storage;

namespace OrleansCluster.Faults.Workloads;

/// <summary>
/// A seeded workload straight on a store: clients write a few objects with expected revisions and claims, read them, list them and follow the log.
/// It is fast enough to show within a second or two whether the checker sees what a store does wrong.
/// </summary>
/// <param name="store">The store.</param>
/// <param name="history">Takes what happens.</param>
/// <param name="seed">Fixes the clients' decisions.</param>
/// <param name="relists">True: followers lose their place again and again, as if the log had been compacted, so that nobody sees every change.</param>
internal sealed class StoreWorkload(IObjectStore store, History history, int seed, bool relists = false)
{
    public const string Resource = "maps";
    private const int Keys = 6;
    private const int Claims = 4;

    private readonly long[] _last = new long[2];

    public async Task RunAsync(int clients, int operations, CancellationToken cancellation)
    {
        history.Owned.Add(Resource);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        var followers = new List<Task>();
        foreach (var client in (int[])[100, 101])
        {
            var list = await ListAsync(client, cancellation);
            followers.Add(FollowAsync(client, list, stop.Token));
        }
        await Task.WhenAll(Enumerable.Range(1, clients).Select(c => Task.Run(() => ClientAsync(c, new Random((seed * 31) + c), operations, cancellation), cancellation)));
        var end = await ListAsync(0, cancellation);
        history.Final.Enqueue(end);
        foreach (var observer in history.Observers)
            observer.Goal = end.ListRevision;
        // A follower that is right gets there at once; one that a bug keeps back is ended.
        for (var i = 0; i < 100 && history.Observers.Any(o => Volatile.Read(ref _last[o.Client - 100]) < end.ListRevision); i++)
            await Task.Delay(5, cancellation);
        await stop.CancelAsync();
        await Task.WhenAll(followers);
    }

    private async Task ClientAsync(int client, Random random, int operations, CancellationToken cancellation)
    {
        for (var i = 0; i < operations; i++)
        {
            var key = $"n/k{random.Next(Keys)}";
            switch (random.Next(10))
            {
                case 0:
                    history.Add(await ListAsync(client, cancellation));
                    break;
                case < 4:
                    _ = await GetAsync(client, key, cancellation);
                    break;
                default:
                    await WriteAsync(client, key, random, cancellation);
                    break;
            }
        }
    }

    private async Task<ObjectVersion?> GetAsync(int client, string key, CancellationToken cancellation)
    {
        var begin = history.Now();
        var answer = Read(await store.GetAsync(Resource, key, cancellation));
        history.Add(Operation(client, Verb.Get, key, begin, Outcome.Ok) with { Answer = answer });
        return answer;
    }

    private async Task<Operation> ListAsync(int client, CancellationToken cancellation)
    {
        var begin = history.Now();
        var snapshot = await store.GetSnapshotAsync(Resource, cancellation);
        return Operation(client, Verb.List, "", begin, Outcome.Ok) with { ListRevision = snapshot.Revision, Items = [.. snapshot.Objects.Select(o => Read(o)!)] };
    }

    private async Task WriteAsync(int client, string key, Random random, CancellationToken cancellation)
    {
        var before = await GetAsync(client, key, cancellation);
        var begin = history.Now();
        var id = history.NextId();
        var verb = before is null ? Verb.Create : random.Next(4) == 0 ? Verb.Delete : Verb.Update;
        (string, string?)[] set = random.Next(2) == 0 ? [("v", $"{id}")] : [("v", $"{id}"), ("claim", $"ip/{random.Next(Claims)}")];
        var change = verb switch { Verb.Create => Change.Create(set), Verb.Delete => Change.Delete, _ => Change.Replace(set) };
        change.TryApply(before?.Fields, out var after);
        var uid = before?.Uid ?? $"u{id}";
        var value = JsonSerializer.SerializeToUtf8Bytes(new Stored(uid, after?.Values ?? before!.Fields.Values));
        var claim = after?.Values.GetValueOrDefault("claim");
        var result = await store.CommitAsync(
            new Commit
            {
                Resource = Resource,
                Key = key,
                Kind = verb == Verb.Delete ? CommitKind.Delete : CommitKind.Put,
                Value = value,
                ExpectedRevision = before?.Revision ?? 0,
                Claims = claim is null ? [] : [claim],
            },
            cancellation);
        var operation = Operation(client, verb, key, begin, Outcome.Ok) with { Change = change, ExpectedRevision = before?.Revision };
        history.Add(result.Outcome switch
        {
            CommitOutcome.Committed when verb == Verb.Delete => operation with { DeletedUid = uid },
            CommitOutcome.Committed => operation with { Answer = Version(key, result.Revision, value) },
            CommitOutcome.RevisionConflict => operation with { Outcome = Outcome.Failed, Code = 409, Reason = before is null ? "AlreadyExists" : "Conflict" },
            _ => operation with { Outcome = Outcome.Failed, Code = 422, Reason = "Claimed" },
        });
    }

    private async Task FollowAsync(int client, Operation list, CancellationToken cancellation)
    {
        var random = new Random((seed * 31) + client);
        var observer = new Observer { Client = client, Resource = Resource };
        history.Observers.Enqueue(observer);
        try
        {
            while (true)
            {
                var stream = new WatchStream { Endpoint = "store", From = list.ListRevision };
                observer.Steps.Add(new(list, null));
                observer.Steps.Add(new(null, stream));
                Volatile.Write(ref _last[client - 100], list.ListRevision);
                var known = list.Items.Select(i => i.Key).ToHashSet(StringComparer.Ordinal);
                while (!relists || random.Next(10) > 0)
                    await ReadAsync(client, stream, known, cancellation);
                await Task.Delay(random.Next(5), cancellation);
                list = await ListAsync(client, cancellation);
            }
        }
        catch (OperationCanceledException)
        {
            // The workload is over.
        }
    }

    private async Task ReadAsync(int client, WatchStream stream, HashSet<string> known, CancellationToken cancellation)
    {
        var wait = TimeSpan.FromMilliseconds(relists ? 5 : 1000);
        foreach (var change in await store.ReadChangesAsync(Resource, Volatile.Read(ref _last[client - 100]), 100, wait, cancellation))
        {
            var type = change.Kind == CommitKind.Delete ? WatchEventType.Deleted : known.Contains(change.Key) ? WatchEventType.Modified : WatchEventType.Added;
            _ = change.Kind == CommitKind.Delete ? known.Remove(change.Key) : known.Add(change.Key);
            stream.Events.Add(new WatchEvent(history.Now(), type, change.Revision, Version(change.Key, change.Revision, change.Value)));
            Volatile.Write(ref _last[client - 100], Math.Max(_last[client - 100], change.Revision));
        }
    }

    private Operation Operation(int client, Verb verb, string key, long begin, Outcome outcome) => new()
    {
        Id = history.NextId(),
        Client = client,
        Endpoint = "store",
        Verb = verb,
        Resource = Resource,
        Key = key,
        Invoked = begin,
        Completed = history.Now(),
        Outcome = outcome,
    };

    private static ObjectVersion? Read(StoredObject? stored) => stored is null ? null : Version(stored.Key, stored.Revision, stored.Value);

    private static ObjectVersion Version(string key, long revision, byte[] value)
    {
        var stored = JsonSerializer.Deserialize<Stored>(value)!;
        return new ObjectVersion(key, revision, stored.Uid, new Fields(stored.Fields), Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(value), 0, 8));
    }

    private sealed record Stored(string Uid, IReadOnlyDictionary<string, string> Fields);
}
