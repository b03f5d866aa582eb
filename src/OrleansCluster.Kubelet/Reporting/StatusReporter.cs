using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;

namespace OrleansCluster.Kubelet.Reporting;

/// <summary>Takes pods' statuses and brings them to the API.</summary>
internal interface IStatusReporter
{
    /// <summary>Reports a pod's newest status; an older one not yet written is dropped.</summary>
    /// <param name="node">The node that reports.</param>
    /// <param name="pod">The pod.</param>
    /// <param name="patch">Strategic merge patch of the status subresource, with the pod's uid.</param>
    /// <param name="settled">Called once when this or a newer status was written (true), or when the API no longer has the pod (false).</param>
    void Report(string node, Runtime.PodIdentity pod, byte[] patch, Action<bool> settled);

    /// <summary>Drops what waits for a pod.</summary>
    void Forget(string podUid);
}

/// <summary>
/// Keeps only the latest status per pod and writes it through the pod's grain: at most <c>parallelism</c> writes at once over all nodes of the process,
/// one per pod, so an older status can never overtake a newer one. While the control plane is away it tries again for ever with a jittered back-off;
/// what waits is bounded by the number of pods.
/// </summary>
internal sealed partial class StatusReporter : IStatusReporter, IAsyncDisposable
{
    private static readonly TimeSpan FirstRetry = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan MaxRetry = TimeSpan.FromSeconds(10);

    private readonly Lock _gate = new();
    private readonly Dictionary<string, Pending> _pending = new(StringComparer.Ordinal);
    private readonly Channel<Pending> _due = Channel.CreateUnbounded<Pending>();
    private readonly ControlPlane.IControlPlane _controlPlane;
    private readonly WakeWheel _wheel;
    private readonly TimeProvider _time;
    private readonly Random _random;
    private readonly ILogger _logger;
    private readonly int _parallelism;
    private readonly CancellationTokenSource _stop = new();
    private Task[] _writers = [];

    /// <param name="controlPlane">Where to write.</param>
    /// <param name="wheel">Wakes retries.</param>
    /// <param name="time">The clock.</param>
    /// <param name="random">Jitter; used under the reporter's lock only.</param>
    /// <param name="parallelism">Most writes at once.</param>
    /// <param name="logger">Where to log.</param>
    public StatusReporter(
        ControlPlane.IControlPlane controlPlane, WakeWheel wheel, TimeProvider time, Random random, int parallelism, ILogger<StatusReporter> logger)
    {
        _controlPlane = controlPlane;
        _wheel = wheel;
        _time = time;
        _random = random;
        _parallelism = parallelism;
        _logger = logger;
    }

    /// <summary>Starts the writers.</summary>
    public void Start()
    {
        _writers = new Task[_parallelism];
        for (var i = 0; i < _writers.Length; i++)
            _writers[i] = Task.Run(() => WriteDueAsync(_stop.Token));
    }

    public void Report(string node, Runtime.PodIdentity pod, byte[] patch, Action<bool> settled)
    {
        lock (_gate)
        {
            if (!_pending.TryGetValue(pod.Uid, out var pending))
                _pending.Add(pod.Uid, pending = new Pending(this, node, pod));
            pending.Patch = patch;
            pending.Waiting.Add(settled);
            // In flight or backing off: whoever finishes there takes the newest patch.
            if (!pending.Scheduled)
                Schedule(pending);
        }
    }

    public void Forget(string podUid)
    {
        lock (_gate)
        {
            if (_pending.Remove(podUid, out var pending))
                pending.Forgotten = true;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        _due.Writer.TryComplete();
        await Task.WhenAll(_writers);
        _stop.Dispose();
    }

    /// <summary>Caller holds the lock.</summary>
    private void Schedule(Pending pending)
    {
        pending.Scheduled = true;
        _due.Writer.TryWrite(pending);
    }

    private async Task WriteDueAsync(CancellationToken cancellationToken)
    {
        try
        {
            await foreach (var pending in _due.Reader.ReadAllAsync(cancellationToken))
                await WriteAsync(pending, cancellationToken);
        }
        catch (OperationCanceledException)
        {
            // Stopping: containers go on, and the next start reports anew.
        }
    }

    private async Task WriteAsync(Pending pending, CancellationToken cancellationToken)
    {
        byte[] patch;
        List<Action<bool>> waiting;
        lock (_gate)
        {
            if (pending.Forgotten)
                return;
            patch = pending.Patch;
            waiting = pending.Waiting;
            pending.Waiting = [];
        }

        bool? written;
        try
        {
            var reply = await _controlPlane.ExecuteAsync(
                new ObjectKey("pods", pending.Pod.Namespace, pending.Pod.Name), NodeRequests.PatchStatus(pending.Node, patch), cancellationToken);
            written = reply.Code switch
            {
                < 300 => true,
                404 => false,
                // Either another uid (a pod of the same name made later) or a write that came between.
                409 => await StillThereAsync(pending, cancellationToken) ? null : false,
                429 or >= 500 => null,
                _ => Refused(pending, reply),
            };
            if (written is null)
                Log.NotWritten(_logger, pending.Pod.Namespace, pending.Pod.Name, reply.Code.ToString(System.Globalization.CultureInfo.InvariantCulture));
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            throw;
        }
        catch (Exception exception)
        {
            written = null;
            Log.NotWritten(_logger, pending.Pod.Namespace, pending.Pod.Name, exception.Message);
        }

        lock (_gate)
        {
            if (written is null)
            {
                pending.Waiting.InsertRange(0, waiting);
                pending.Retry = pending.Retry <= TimeSpan.Zero ? FirstRetry : pending.Retry * 2 > MaxRetry ? MaxRetry : pending.Retry * 2;
                _wheel.Set(pending, _time.GetUtcNow() + pending.Retry * (0.75 + 0.5 * _random.NextDouble()));
                return;
            }
            pending.Retry = TimeSpan.Zero;
            if (pending.Waiting.Count > 0)
            {
                _due.Writer.TryWrite(pending);
            }
            else
            {
                pending.Scheduled = false;
                if (!pending.Forgotten)
                    _pending.Remove(pending.Pod.Uid);
            }
        }
        foreach (var settled in waiting)
            settled(written.Value);
    }

    private async Task<bool> StillThereAsync(Pending pending, CancellationToken cancellationToken)
    {
        var bytes = await _controlPlane.GetAsync(new ObjectKey("pods", pending.Pod.Namespace, pending.Pod.Name), cancellationToken);
        return bytes is not null && Pods.PodDocument.Parse(bytes).Uid == pending.Pod.Uid;
    }

    /// <summary>A refusal that no retry heals would block the pod for ever: it is logged as our bug and counts as written.</summary>
    private bool? Refused(Pending pending, ObjectReply reply)
    {
        Log.Refused(_logger, pending.Pod.Namespace, pending.Pod.Name, reply.GetError()?.Message ?? reply.Code.ToString(System.Globalization.CultureInfo.InvariantCulture));
        return true;
    }

    private sealed class Pending(StatusReporter owner, string node, Runtime.PodIdentity pod) : IWakeable
    {
        public string Node { get; } = node;

        public Runtime.PodIdentity Pod { get; } = pod;

        public byte[] Patch { get; set; } = [];

        public List<Action<bool>> Waiting { get; set; } = [];

        /// <summary>Queued, in flight or backing off.</summary>
        public bool Scheduled { get; set; }

        public bool Forgotten { get; set; }

        public TimeSpan Retry { get; set; }

        public long WakeTicks { get; set; }

        public void Wake() => owner._due.Writer.TryWrite(this);
    }

    private static partial class Log
    {
        [LoggerMessage(1, LogLevel.Debug, "Status of pod {Namespace}/{Pod} not written yet: {Why}")]
        public static partial void NotWritten(ILogger logger, string @namespace, string pod, string why);

        [LoggerMessage(2, LogLevel.Error, "Status of pod {Namespace}/{Pod} was refused: {Why}")]
        public static partial void Refused(ILogger logger, string @namespace, string pod, string why);
    }
}
