using System.Collections.Concurrent;
using System.Diagnostics.Metrics;

namespace OrleansCluster.Storage;

/// <summary>
/// What the Redis store counts, as the meter `OrleansCluster.Storage`. Names end as Prometheus' do; an exporter turns dots into underscores.
/// </summary>
internal sealed class RedisMetrics : IDisposable
{
    private readonly Meter _meter;
    private readonly Counter<long> _commits;
    private readonly Counter<long> _conflicts;
    private readonly Counter<long> _epochs;
    private readonly Counter<long> _reconnects;
    private readonly Counter<long> _unavailable;
    private readonly Histogram<long> _tailLag;
    private readonly ConcurrentDictionary<(string Resource, string Queue), QueueStatistics> _queues = new();

    /// <param name="meters">The host's, which then decides how long they last; null for a store without a host.</param>
    public RedisMetrics(IMeterFactory? meters)
    {
        _meter = meters?.Create(StoreTelemetry.Name) ?? new Meter(StoreTelemetry.Name);
        _commits = _meter.CreateCounter<long>("orleanscluster_store_commits", description: "Commits by resource and outcome.");
        _conflicts = _meter.CreateCounter<long>("orleanscluster_store_conflicts", description: "Commits refused by a check, by resource.");
        _epochs = _meter.CreateCounter<long>("orleanscluster_store_epoch_changes", description: "New epochs this process began or ran into, by resource.");
        _reconnects = _meter.CreateCounter<long>("orleanscluster_store_reconnects", description: "Connections to Redis that were made anew.");
        _unavailable = _meter.CreateCounter<long>("orleanscluster_store_unavailable", description: "Batches of commits whose outcome is unknown, by resource.");
        _tailLag = _meter.CreateHistogram<long>("orleanscluster_store_tail_lag_revisions", description: "Revisions still to be read after a read of the change log, by resource.",
            advice: new InstrumentAdvice<long> { HistogramBucketBoundaries = [0, 1, 10, 100, 1000, 10_000, 100_000] });
        // As the compactor saw them last; silos ask anew at each scrape (orleanscluster_queue_*). Queues are shared: every process that uses one reports the same depth, so take the maximum, not the sum.
        _meter.CreateObservableGauge("orleanscluster_store_queue_depth", Depths, description: "Items of a work queue by state: ready, leased, delayed.");
        _meter.CreateObservableGauge("orleanscluster_store_queue_oldest_age_seconds", Ages, null, "Age of the oldest item of a work queue.");
    }

    public void Committed(string resource, int batch, int conflicts, TimeSpan time)
    {
        var tag = new KeyValuePair<string, object?>("resource", resource);
        _commits.Add(batch - conflicts, tag);
        if (conflicts > 0)
            _conflicts.Add(conflicts, tag);
        StoreTelemetry.NoteBatch(resource, batch, time);
    }

    public void Unavailable(string resource) => _unavailable.Add(1, new KeyValuePair<string, object?>("resource", resource));

    public void EpochChanged(string resource) => _epochs.Add(1, new KeyValuePair<string, object?>("resource", resource));

    public void TailRead(string resource, long behind) => _tailLag.Record(behind, new KeyValuePair<string, object?>("resource", resource));

    public void QueueSeen(string resource, string queue, QueueStatistics statistics) => _queues[(resource, queue)] = statistics;

    public void Reconnected() => _reconnects.Add(1);

    private IEnumerable<Measurement<long>> Depths()
    {
        foreach (var ((resource, queue), statistics) in _queues)
        {
            yield return Depth(statistics.Ready, "ready");
            yield return Depth(statistics.Leased, "leased");
            yield return Depth(statistics.Delayed, "delayed");

            Measurement<long> Depth(long value, string state) => new(value, new("resource", resource), new("queue", queue), new("state", state));
        }
    }

    private IEnumerable<Measurement<double>> Ages() =>
        _queues.Select(q => new Measurement<double>(q.Value.OldestAge.TotalSeconds, new("resource", q.Key.Resource), new("queue", q.Key.Queue)));

    public void Dispose() => _meter.Dispose();
}
