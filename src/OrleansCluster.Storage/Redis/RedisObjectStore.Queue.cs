using System.Globalization;
using StackExchange.Redis;

namespace OrleansCluster.Storage;

// The work queues. Unlike the embedded store's, leases, attempts and delays outlive a process: others may hold them.
public sealed partial class RedisObjectStore
{
    /// <summary>The longest wait without a look: a lease that another process takes meanwhile moves the moment at which something becomes due.</summary>
    private static readonly TimeSpan MaxWait = TimeSpan.FromSeconds(15);

    /// <inheritdoc/>
    public async ValueTask<IReadOnlyList<QueueItem>> LeaseAsync(
        string resource, string queue, int maxCount, TimeSpan lease, TimeSpan wait, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(maxCount);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(lease, TimeSpan.Zero);
        var target = Resource(resource);
        var keys = target.Queue(queue);
        var start = _time.GetTimestamp();
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var tail = await _tails.GetAsync(target, cancellationToken);
            // Before the look, so that an item added between look and wait still wakes us.
            var changed = tail.Signal(keys[^1]).NextAsync();
            ThrowIfDisposed();
            var asked = _time.GetTimestamp();
            // Not ended by the token once sent: what has been leased must reach the caller.
            var result = await WriteQueueAsync(target, RedisScript.Lease, keys, [maxCount, RedisClock.Microseconds(lease)], cancellationToken);
            if (result.Length > 3)
                return Items(result);
            var left = wait - _time.GetElapsedTime(start);
            if (left <= TimeSpan.Zero)
                return [];
            var untilDue = (long)result[2] is var micros and >= 0 ? TimeSpan.FromMicroseconds(micros) - _time.GetElapsedTime(asked) : MaxWait;
            _tails.Follow(tail, keys[^1], null);
            await AsyncSignal.WaitAsync(changed, Min(Min(untilDue, left), MaxWait), _time, cancellationToken);
        }
    }

    /// <inheritdoc/>
    public async ValueTask ReleaseAsync(string resource, string queue, QueueItem item, TimeSpan delay, CancellationToken cancellationToken)
    {
        var target = Resource(resource);
        await WriteQueueAsync(target, RedisScript.Release, target.Queue(queue), [item.Key, item.LeaseId, RedisClock.Microseconds(delay)], cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask CompleteAsync(string resource, string queue, QueueItem item, CancellationToken cancellationToken)
    {
        var target = Resource(resource);
        await WriteQueueAsync(target, RedisScript.Complete, target.Queue(queue), [item.Key, item.LeaseId], cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask WakeAsync(string resource, string queue, IReadOnlyCollection<string>? keys, CancellationToken cancellationToken)
    {
        const int piece = 1000;
        var target = Resource(resource);
        if (keys is null)
        {
            while ((long)(await WriteQueueAsync(target, RedisScript.Wake, target.Queue(queue), ["1"], cancellationToken))[2] >= piece)
                cancellationToken.ThrowIfCancellationRequested();
            return;
        }
        foreach (var part in keys.Chunk(piece))
            await WriteQueueAsync(target, RedisScript.Wake, target.Queue(queue), ["0", .. part.Select(k => (RedisValue)k)], cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask<QueueStatistics> GetQueueStatisticsAsync(string resource, string queue, CancellationToken cancellationToken)
    {
        var target = Resource(resource);
        var result = await ReadAsync(target, RedisScript.Statistics, target.Queue(queue), [RedisClock.Argument(_time)], cancellationToken);
        return new QueueStatistics((long)result[2], (long)result[3], (long)result[4], TimeSpan.FromMicroseconds((long)result[5]));
    }

    private static TimeSpan Min(TimeSpan x, TimeSpan y) => x < y ? x : y;

    private static List<QueueItem> Items(RedisResult[] result)
    {
        var items = new List<QueueItem>((result.Length - 3) / 5);
        for (var i = 3; i + 4 < result.Length; i += 5)
        {
            items.Add(new QueueItem(
                (string)result[i]!, long.Parse((string)result[i + 1]!, CultureInfo.InvariantCulture), (int)result[i + 2],
                RedisClock.ToTime((long)result[i + 3]), (long)result[i + 4]));
        }
        return items;
    }

    private async ValueTask<RedisResult[]> WriteQueueAsync(
        RedisResource resource, RedisScript script, RedisKey[] keys, RedisValue[] arguments, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var database = await _connections.ReadAsync(cancellationToken);
        return await _epochs.RunAsync(
            database, resource, script, keys, [default, default, default, RedisClock.Argument(_time), .. arguments], replicate: false, CancellationToken.None);
    }
}
