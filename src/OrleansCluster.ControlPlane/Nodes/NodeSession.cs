using System.Diagnostics;
using Microsoft.Extensions.Logging;
using OrleansCluster.ControlPlane.Operations;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Nodes;

/// <summary>
/// Sends one node agent its pods: first the complete set, then what changed. Of a pod that changes while a call
/// is under way only the newest state waits, so a slow agent costs no memory beyond its pods. The next call waits for the last one to return.
/// </summary>
internal sealed partial class NodeSession : IAsyncDisposable
{
    /// <summary>Calls in a row that may fail before the session is given up; the agent connects anew when its next heartbeat is refused.</summary>
    private const int MaxFailures = 5;

    /// <summary>Most pods in one call: bounds a message to about a megabyte.</summary>
    private const int MaxPodsPerCall = 250;

    private readonly string _node;
    private readonly INodeObserver _observer;
    private readonly NodePods _pods;
    private readonly PodTraces _traces;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stop = new();
    private readonly SemaphoreSlim _signal = new(0, 1);
    private readonly Lock _gate = new();
    private Dictionary<string, ICachedObject?> _dirty = new(StringComparer.Ordinal);
    private Task _run = Task.CompletedTask;

    private NodeSession(string id, string node, INodeObserver observer, NodePods pods, PodTraces traces, TimeProvider time, ILogger logger)
    {
        Id = id;
        _node = node;
        _observer = observer;
        _pods = pods;
        _traces = traces;
        _time = time;
        _logger = logger;
    }

    /// <summary>The id the agent gave the session.</summary>
    public string Id { get; }

    /// <summary>True while pods are being sent.</summary>
    public bool IsOpen => !_run.IsCompleted;

    public static NodeSession Open(string id, string node, INodeObserver observer, NodePods pods, PodTraces traces, TimeProvider time, ILogger logger)
    {
        var session = new NodeSession(id, node, observer, pods, traces, time, logger);
        session._run = Task.Run(() => session.RunAsync(session._stop.Token));
        return session;
    }

    /// <summary>Ends the session and tells the agent so, which then finds the node's grain at its new place.</summary>
    public async Task CloseAsync()
    {
        var open = IsOpen;
        await DisposeAsync();
        if (!open)
            return;
        try
        {
            await _observer.SessionEndedAsync(_node, Id);
        }
        catch (Exception error) when (GrainCalls.IsUnavailable(error))
        {
            Log.SendFailed(_logger, _node, error.Message);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _run.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
        _signal.Dispose();
    }

    private async Task RunAsync(CancellationToken cancellationToken)
    {
        Action<ICachedObject, bool> listener = Note;
        var complete = _pods.Listen(_node, listener);
        try
        {
            await SendAsync(new PodSync { Node = _node, Complete = true, Pods = [.. complete.Select(p => p.Bytes.ToArray())] }, cancellationToken);
            while (true)
            {
                await _signal.WaitAsync(cancellationToken);
                // Pod start, step 1 (docs/architecture.md).
                foreach (var batch in Take().Chunk(MaxPodsPerCall))
                    await SendTracedAsync(batch, cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Replaced by a newer session, or the grain is going.
        }
        catch (SessionLostException)
        {
            Log.Lost(_logger, _node);
        }
        finally
        {
            _pods.Unlisten(_node, listener);
        }
    }

    /// <summary>Each pod that is traced gets a span of its own, and the agent goes on with that.</summary>
    private async Task SendTracedAsync(KeyValuePair<string, ICachedObject?>[] batch, CancellationToken cancellationToken)
    {
        var sync = Batch(batch);
        if (!_traces.Any)
        {
            await SendAsync(sync, cancellationToken);
            return;
        }
        var spans = new Dictionary<string, Activity>(StringComparer.Ordinal);
        foreach (var (uid, _) in batch)
        {
            if (ControlPlaneTelemetry.Continue("push pod", ActivityKind.Producer, _traces.Take(uid)) is { } span)
                spans.Add(uid, span.SetTag("k8s.node.name", _node));
        }
        // The call carries many traces, so it belongs to none.
        Activity.Current = null;
        try
        {
            var traces = spans.ToDictionary(static s => s.Key, static s => s.Value.Id!, StringComparer.Ordinal);
            await SendAsync(spans.Count == 0 ? sync : sync with { TraceParents = traces }, cancellationToken);
        }
        finally
        {
            foreach (var span in spans.Values)
                span.Dispose();
        }
    }

    private async Task SendAsync(PodSync sync, CancellationToken cancellationToken)
    {
        for (var failures = 0; ;)
        {
            try
            {
                await _observer.SyncPodsAsync(sync).WaitAsync(cancellationToken);
                return;
            }
            catch (Exception error) when (error is not OperationCanceledException || !cancellationToken.IsCancellationRequested)
            {
                if (++failures == MaxFailures)
                    throw new SessionLostException();
                Log.SendFailed(_logger, _node, error.Message);
                await Task.Delay(TimeSpan.FromMilliseconds(100 << failures), _time, cancellationToken);
            }
        }
    }

    private PodSync Batch(KeyValuePair<string, ICachedObject?>[] batch) => new()
    {
        Node = _node,
        Complete = false,
        Pods = [.. batch.Where(p => p.Value is not null).Select(p => p.Value!.Bytes.ToArray())],
        RemovedUids = [.. batch.Where(p => p.Value is null).Select(p => p.Key)],
    };

    private void Note(ICachedObject pod, bool gone)
    {
        lock (_gate)
            _dirty[pod.Uid] = gone ? null : pod;
        try
        {
            _signal.Release();
        }
        catch (Exception error) when (error is SemaphoreFullException or ObjectDisposedException)
        {
            // A send is due already, or the session is over.
        }
    }

    private Dictionary<string, ICachedObject?> Take()
    {
        lock (_gate)
        {
            var taken = _dirty;
            _dirty = new Dictionary<string, ICachedObject?>(StringComparer.Ordinal);
            return taken;
        }
    }

    private sealed class SessionLostException : Exception;

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "Node {Node}: sending pods failed and will be repeated: {Error}")]
        public static partial void SendFailed(ILogger logger, string node, string error);

        [LoggerMessage(LogLevel.Warning, "Node {Node}: its agent does not take its pods; the session is closed")]
        public static partial void Lost(ILogger logger, string node);
    }
}
