using System.Text;
using CsCheck;
using Microsoft.Extensions.Time.Testing;
using static OrleansCluster.Storage.Tests.TestObjects;

namespace OrleansCluster.Storage.Tests;

/// <summary>
/// Random sequences of every operation, restarts and failures included, against <see cref="StoreModel"/>. After each step the store must look as
/// the model does. A failing sequence is made shorter and printed with its seed.
/// </summary>
public abstract class StoreModelTests
{
    private static readonly string[] Keys = ["a/1", "a/2", "a/3", "b"];
    private static readonly string[] Claims = ["ip/1", "ip/2", "ip/3"];
    private static readonly TimeSpan Lease = TimeSpan.FromSeconds(10);

    protected static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>Sequences of a normal run; a long one tries fifty times as many.</summary>
    protected abstract int Iterations { get; }

    /// <summary>A fresh store that lives through one sequence.</summary>
    protected abstract Task<Subject> MakeAsync(int[] steps, FakeTimeProvider time);

    [Fact]
    public Task Any_sequence_of_operations_does_what_the_model_does() => SampleAsync(Iterations);

    [Fact]
    [Trait("Category", "Long")]
    public Task Any_sequence_of_operations_does_what_the_model_does_long() => SampleAsync(Iterations * 50L);

    private Task SampleAsync(long iterations) =>
        Gen.Int[0, int.MaxValue].Array[1, 60].SampleAsync(RunAsync, iter: iterations, threads: 2);

    private async Task RunAsync(int[] steps)
    {
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        var model = new StoreModel { Now = time.GetUtcNow() };
        // Leases that have been handed out, outdated ones included, with the model's item of that time.
        var leases = new List<(StoreModel.ModelItem Item, QueueItem Lease)>();
        await using var subject = await MakeAsync(steps, time);
        var store = await subject.OpenAsync();
        try
        {
            foreach (var step in steps)
            {
                var choice = new Digits(step);
                switch (choice.Next(14))
                {
                    case 0 or 1 or 2 or 3 or 4:
                        await CommitAsync(ref choice);
                        break;
                    case 5:
                        var fence = choice.Next(2) == 0 ? "f" : "g";
                        model.Fences[fence] = model.Fences.GetValueOrDefault(fence) + 1;
                        Assert.Equal(model.Fences[fence], await store.AdvanceFenceAsync("pods", fence, Token));
                        break;
                    case 6:
                        var through = choice.Next((int)model.Revision + 3);
                        model.Compact(through);
                        await store.CompactAsync("pods", through, Token);
                        break;
                    case 7:
                        var count = choice.Next(3) + 1;
                        var items = await store.LeaseAsync("pods", "q", count, Lease, TimeSpan.Zero, Token);
                        var expectedItems = model.Lease(count, Lease);
                        Assert.Equal(expectedItems.Select(i => (i.Key, i.Priority, i.Attempt)), items.Select(i => (i.Key, i.Priority, i.Attempt)));
                        leases.AddRange(expectedItems.Zip(items));
                        break;
                    case 8:
                        if (leases.Count == 0)
                            break;
                        var (modelItem, lease) = leases[choice.Next(leases.Count)];
                        var held = model.Queue.Contains(modelItem) && modelItem.Leased && modelItem.DueAt > model.Now && modelItem.Attempt == lease.Attempt
                            ? modelItem : null;
                        if (choice.Next(2) == 0)
                        {
                            await store.CompleteAsync("pods", "q", lease, Token);
                            if (held is not null)
                                model.Queue.Remove(held);
                        }
                        else
                        {
                            var delay = TimeSpan.FromSeconds(choice.Next(3) * 7);
                            await store.ReleaseAsync("pods", "q", lease, delay, Token);
                            if (held is not null)
                                (held.Leased, held.DueAt) = (false, delay == TimeSpan.Zero ? default : model.Now + delay);
                        }
                        break;
                    case 9:
                        await store.WakeAsync("pods", "q", choice.Next(2) == 0 ? null : [Keys[0], Keys[1]], Token);
                        foreach (var item in model.Queue.Where(i => !i.Leased && (choice.Last == 0 || i.Key == Keys[0] || i.Key == Keys[1])))
                            item.DueAt = default;
                        break;
                    case 10:
                        var acknowledged = choice.Next(20);
                        await store.AcknowledgeAsync("pods", "g", acknowledged, Token);
                        model.Acknowledged["g"] = Math.Max(acknowledged, model.Acknowledged.GetValueOrDefault("g"));
                        break;
                    case 11:
                        var passed = TimeSpan.FromSeconds(choice.Next(15));
                        time.Advance(passed);
                        model.Now += passed;
                        break;
                    case 12:
                        await store.DisposeAsync();
                        store = await subject.OpenAsync();
                        if (!subject.LeasesEndWithTheProcess)
                            break;
                        model.Restart();
                        leases.Clear();
                        break;
                    default:
                        await subject.FailAsync(store, [.. Claims.Where(c => !model.IsClaimed(c))]);
                        break;
                }
                await CompareAsync();
            }
        }
        finally
        {
            await store.DisposeAsync();
        }

        Task CommitAsync(ref Digits choice)
        {
            var commits = new List<Commit>();
            // Expected revisions are chosen before the call is built, so within a call some are stale on purpose.
            for (var n = choice.Next(3); n >= 0; n--)
            {
                var key = Keys[choice.Next(Keys.Length)];
                var expected = choice.Next(5) == 0 ? choice.Next(4) : model.Find(key)?.Revision ?? 0;
                var commit = choice.Next(4) == 0 && expected > 0 ? Delete(key, expected) : Put(key, expected);
                commit = commit with { Value = Encoding.ASCII.GetBytes($"{key} {commits.Count} {model.Revision}") };
                commit = choice.Next(3) switch
                {
                    0 => commit with { Claims = [Claims[choice.Next(3)], Claims[choice.Next(3)]] },
                    1 => commit with { Claims = choice.Next(2) == 0 ? [] : null },
                    _ => commit,
                };
                commit = choice.Next(4) switch
                {
                    0 => commit with { Queue = new QueueChange("q", QueueAction.Enqueue, choice.Next(3)) },
                    1 => commit with { Queue = new QueueChange("q", QueueAction.Remove) },
                    2 => commit with { Fence = new Fence("f", choice.Next(3)) },
                    _ => commit,
                };
                commits.Add(commit);
            }
            return RunCommitsAsync(commits);
        }

        async Task RunCommitsAsync(List<Commit> commits)
        {
            var expected = commits.ConvertAll(model.Commit);
            Assert.Equal(expected, await store.CommitAsync(commits, Token));
        }

        async Task CompareAsync()
        {
            Assert.Equal(model.Revision, await store.GetRevisionAsync("pods", Token));
            Assert.Equal(model.Compacted, await store.GetCompactedRevisionAsync("pods", Token));
            var snapshot = await store.GetSnapshotAsync("pods", Token);
            Assert.Equal(model.Revision, snapshot.Revision);
            Assert.Equal(model.Objects.Select(Text).Order(), snapshot.Objects.Select(Text).Order());
            foreach (var key in Keys)
                Assert.Equal(model.Find(key) is { } o ? Text(o) : null, await store.GetAsync("pods", key, Token) is { } s ? Text(s) : null);
            var log = await store.ReadChangesAsync("pods", model.Compacted, 1000, TimeSpan.Zero, Token);
            Assert.Equal(model.Log.Skip((int)model.Compacted).Select(TextOf), log.Select(TextOf));
            if (model.Compacted > 0)
                await Assert.ThrowsAsync<CompactedException>(async () => await store.ReadChangesAsync("pods", model.Compacted - 1, 1, TimeSpan.Zero, Token));
            var statistics = await store.GetQueueStatisticsAsync("pods", "q", Token);
            Assert.Equal(
                (model.Queue.Count(i => i.DueAt <= model.Now), model.Queue.Count(i => i.Leased && i.DueAt > model.Now), model.Queue.Count(i => !i.Leased && i.DueAt > model.Now)),
                ((int)statistics.Ready, (int)statistics.Leased, (int)statistics.Delayed));
            Assert.Equal(model.Acknowledged.TryGetValue("g", out var g) ? g : null, await store.GetAcknowledgedAsync("pods", "g", Token));
        }

        static string Text(StoredObject o) => $"{o.Key}@{o.Revision}={Encoding.ASCII.GetString(o.Value)}";
        static string TextOf(StoredChange c) => $"{c.Revision} {c.Kind} {c.Key}={Encoding.ASCII.GetString(c.Value)}";
    }

    /// <summary>A store that can be closed and opened again within one sequence.</summary>
    protected abstract class Subject : IAsyncDisposable
    {
        public abstract bool LeasesEndWithTheProcess { get; }

        public abstract Task<IObjectStore> OpenAsync();

        /// <summary>Something that must change nothing goes wrong.</summary>
        public abstract Task FailAsync(IObjectStore store, IReadOnlyList<string> freeClaims);

        public virtual ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    /// <summary>Splits a number into choices; smaller numbers make plainer choices, which is what shrinking wants.</summary>
    private struct Digits(int number)
    {
        private uint _rest = (uint)number;
        private uint _mix = (uint)number * 2654435761;

        public int Last { get; private set; }

        public int Next(int bound)
        {
            Last = (int)(_rest % (uint)bound);
            _rest /= (uint)bound;
            // A number has some eight choices in it; what is asked beyond that comes from a mix of it.
            if (_rest == 0)
            {
                _mix = (_mix ^ (_mix >> 15)) * 2246822519;
                _rest = _mix >> 3;
            }
            return Last;
        }
    }
}
