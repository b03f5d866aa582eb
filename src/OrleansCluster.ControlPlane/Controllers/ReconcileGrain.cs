using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.Storage;

namespace OrleansCluster.ControlPlane.Controllers;

/// <summary>
/// One object under one controller: runs are one at a time here and parallel everywhere else. The grain owns the back-off; the controller
/// class owns none. Each activation has its own <see cref="ObjectClient"/>, whose reads wait for the grain's own last writes.
/// </summary>
[CollectionAgeLimit(Minutes = 2)]
public sealed partial class ReconcileGrain(
    ControllerRegistry controllers,
    IGrainFactory grains,
    IResourceCaches caches,
    ResourceRegistry registry,
    ControllerEvents events,
    TimeProvider time,
    Random random,
    ILogger<ReconcileGrain> logger) : Grain, IReconcileGrain
{
    /// <summary>First back-off after a failure; doubles with every further one.</summary>
    private static readonly TimeSpan FirstBackoff = TimeSpan.FromMilliseconds(50);

    /// <summary>Longest back-off: a failing object is tried about every minute, so that recovery is noticed by people who wait for it.</summary>
    private static readonly TimeSpan MaxBackoff = TimeSpan.FromMinutes(1);

    /// <summary>A run that takes longer is cancelled and counts as failed; built-in controllers take milliseconds.</summary>
    private static readonly TimeSpan RunTimeout = TimeSpan.FromMinutes(1);

    private ObjectClient? _objects;
    private IController? _controller;
    private ObjectKey _key;
    private int _failures;

    /// <inheritdoc/>
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        var key = this.GetPrimaryKeyString();
        var bar = key.IndexOf('|', StringComparison.Ordinal);
        _controller = controllers.Find(key[..bar]);
        _key = ObjectKey.Parse(key[(bar + 1)..]);
        _objects = new ObjectClient(new ObjectWriter(grains, time, UserInfo.ControlPlane, random), caches, registry);
        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    public async Task<ReconcileReply> ReconcileAsync(SeenRevision[] seen, CancellationToken cancellationToken)
    {
        if (_controller is null)
            return new ReconcileReply { Settled = true }; // A controller that only another version of the silo has.
        foreach (var (resource, revision) in seen)
            _objects!.Observe(resource, revision);

        using var guard = new CancellationTokenSource(RunTimeout, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(guard.Token, cancellationToken);
        var context = new ReconcileContext
        {
            Objects = _objects!,
            Events = events.For(_controller.Name),
            Time = time,
            CancellationToken = linked.Token,
        };
        // One switch over the outcomes: done, again after a while, of no use to repeat, failed.
        try
        {
            var result = await _controller.ReconcileAsync(_key, context);
            _failures = 0;
            return new ReconcileReply { Settled = true, RequeueAfter = result.RequeueAfter };
        }
        catch (TerminalException error)
        {
            Log.Terminal(logger, _controller.Name, _key, error);
            return new ReconcileReply { Settled = true };
        }
        catch (StatusException error) when (error.Status.Code == 409)
        {
            // Somebody else wrote in between; the change that says so is on its way, so this is no failure worth a log line.
            return Failed();
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            return Failed();
        }
        catch (OperationCanceledException) when (guard.IsCancellationRequested)
        {
            Log.TimedOut(logger, _controller.Name, _key, RunTimeout);
            return Failed();
        }
        catch (Exception error)
        {
            Log.Failed(logger, _controller.Name, _key, _failures + 1, error);
            return Failed();
        }
    }

    private ReconcileReply Failed()
    {
        var exponent = Math.Min(_failures++, 16);
        var backoff = TimeSpan.FromTicks(Math.Min(MaxBackoff.Ticks, FirstBackoff.Ticks << exponent));
        // Half fixed, half by chance: objects that failed together do not return together.
        return new ReconcileReply { Settled = false, RequeueAfter = backoff * (0.5 + (random.NextDouble() / 2)) };
    }

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Warning, "{Controller}: {Key} failed, attempt {Failures}")]
        public static partial void Failed(ILogger logger, string controller, ObjectKey key, int failures, Exception error);

        [LoggerMessage(LogLevel.Warning, "{Controller}: {Key} did not finish within {Timeout} and was cancelled")]
        public static partial void TimedOut(ILogger logger, string controller, ObjectKey key, TimeSpan timeout);

        [LoggerMessage(LogLevel.Error, "{Controller}: {Key} cannot be reconciled until it changes")]
        public static partial void Terminal(ILogger logger, string controller, ObjectKey key, Exception error);
    }
}
