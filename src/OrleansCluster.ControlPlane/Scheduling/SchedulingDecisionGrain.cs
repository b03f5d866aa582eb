using System.Diagnostics;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using OrleansCluster.Api;
using OrleansCluster.ControlPlane.Controllers;
using OrleansCluster.ControlPlane.Objects;
using OrleansCluster.ControlPlane.Operations;
using OrleansCluster.Scheduling;

namespace OrleansCluster.ControlPlane.Scheduling;

/// <summary>
/// One pod's way to its node. Data path of an attempt, whose step numbers the code names:
/// <code>
///   queue (1) ──► this grain: (2) read the pod ──► (3) filter and score on the silo's ClusterView ──► (4) node grain: reserve
///                     ▲ next best, up to 5 tries ◄── refused ──────────────────────────────────────────────┘ promised, with epoch
///   change log ◄── (6) commit: pod unbound? node's epoch current? ◄── (5) pod's object grain: bind ◄───────────┘
/// </code>
/// Nothing here is needed to be right: the node admits what fits, and the commit of step (6) refuses what is stale. Keeps its trace.
/// </summary>
[CollectionAgeLimit(Minutes = 2)]
public sealed partial class SchedulingDecisionGrain(
    ClusterView cluster,
    SchedulingProfiles profiles,
    IGrainFactory grains,
    ControllerEvents events,
    TimeProvider time,
    Random random,
    ILogger<SchedulingDecisionGrain> logger) : Grain, ISchedulingDecisionGrain
{
    /// <summary>Nodes asked in one attempt. Refusals come from other silos' decisions of the same moment; more than a few mean a full cluster.</summary>
    private const int MaxTries = 5;

    private static readonly HashSet<string> NoNodes = [];
    private static readonly string[] ControlPlaneGroups = [.. UserInfo.ControlPlane.Groups];

    /// <summary>A pod that waits is looked at for longer than the next attempt takes to come (five minutes).</summary>
    private static readonly TimeSpan KeepWaiting = TimeSpan.FromMinutes(10);

    private DecisionTrace? _trace;
    private string _lastMessage = "";

    /// <inheritdoc/>
    public Task<byte[]?> GetTraceAsync(CancellationToken cancellationToken) =>
        Task.FromResult(_trace is null ? null : CanonicalJson.SerializeNode(_trace.ToJson()));

    /// <inheritdoc/>
    public async Task<DecisionOutcome> DecideAsync(DecisionRequest request, CancellationToken cancellationToken)
    {
        var pod = request.Requirements ?? PodReader.Read(request.Pod); // (2)
        if (profiles.Find(pod.SchedulerName) is not { } profile)
            return new DecisionOutcome { Result = DecisionResult.Obsolete };

        _trace ??= new DecisionTrace(request.PodKey, pod.Uid);
        var seed = Seed(pod.Uid, request.Attempt);
        var attempt = _trace.Begin(time.GetUtcNow(), profile.Name, seed);
        try
        {
            var outcome = await AttemptAsync(request, pod, profile, attempt, new Random(seed), cancellationToken);
            attempt.Result = outcome.Result.ToString();
            attempt.Message = outcome.Message;
            if (outcome.Result == DecisionResult.Unschedulable)
                DelayDeactivation(KeepWaiting);
            return outcome;
        }
        catch (Exception error)
        {
            attempt.Result = nameof(DecisionResult.Failed);
            attempt.Message = error.Message;
            throw;
        }
    }

    private async Task<DecisionOutcome> AttemptAsync(
        DecisionRequest request, PodRequirements pod, SchedulingProfile profile, DecisionTrace.Attempt attempt, Random random, CancellationToken cancellationToken)
    {
        HashSet<string>? excluded = null;
        SelectionResult selection;
        for (var tries = 1; ; tries++)
        {
            var started = Stopwatch.GetTimestamp();
            using (var span = Activity.Current is null ? null : ControlPlaneTelemetry.Source.StartActivity("filter and score"))
            {
                selection = NodeSelection.Select(pod, profile, cluster.Slots, excluded ?? NoNodes, random); // (3)
                span?.SetTag("k8s.node.name", selection.Node);
            }
            attempt.AddTry(selection, Stopwatch.GetElapsedTime(started));
            if (selection.Node is not { } node)
                break;
            var promise = await ReserveAsync(request, pod, node, refusedEpoch: 0, cancellationToken); // (4)
            attempt.Answered(promise.Admitted ? "admitted" : string.Join(", ", promise.Reasons));
            if (promise.Admitted)
            {
                var outcome = await BindAsync(request, pod, node, promise.Epoch, cancellationToken);
                if (outcome is not null)
                    return outcome;
                // The fence is ahead of the node's grain. It takes a new epoch and promises anew, or refuses by what it has learned.
                promise = await ReserveAsync(request, pod, node, promise.Epoch, cancellationToken);
                attempt.Answered(promise.Admitted ? "admitted under a new epoch" : string.Join(", ", promise.Reasons));
                if (promise.Admitted)
                {
                    return await BindAsync(request, pod, node, promise.Epoch, cancellationToken)
                        ?? new DecisionOutcome { Result = DecisionResult.Failed, Message = $"the authority of node {node} changes" };
                }
            }
            (excluded ??= new HashSet<string>(StringComparer.Ordinal)).Add(node);
            if (tries == MaxTries)
                return new DecisionOutcome { Result = DecisionResult.Failed, Message = $"{tries} nodes refused: {string.Join(", ", promise.Reasons)}" };
        }
        // A node that this silo thinks fit knows better: it has promised its place to another silo's pod, or has not seen yet that a pod has left.
        // Either passes, so this is no answer for users, and nothing else would wake the pod.
        if (excluded is not null)
            return new DecisionOutcome { Result = DecisionResult.Failed, Message = $"the nodes that seemed fit refused: {string.Join(", ", excluded)}" };
        var json = CanonicalJson.Parse(request.Pod);
        var message = UnschedulableMessage.From(selection, neverPreempts: json.Text("spec", "preemptionPolicy") == "Never");
        await ReportUnschedulableAsync(request, json, message, cancellationToken);
        return new DecisionOutcome { Result = DecisionResult.Unschedulable, Message = message };
    }

    private async Task<ReserveReply> ReserveAsync(DecisionRequest request, PodRequirements pod, string node, long refusedEpoch, CancellationToken cancellationToken)
    {
        cluster.Assume(pod, node);
        var admitted = false;
        try
        {
            var promise = await grains.GetGrain<INodeGrain>(node).ReserveAsync(
                new ReserveRequest { PodUid = pod.Uid, PodKey = request.PodKey, Pod = request.Pod, Requirements = pod, RefusedEpoch = refusedEpoch },
                cancellationToken);
            admitted = promise.Admitted;
            return promise;
        }
        finally
        {
            if (!admitted)
                cluster.Forget(pod.Uid);
        }
    }

    /// <summary>Binds under a promise; null: its epoch is over, and the promise with it.</summary>
    private async Task<DecisionOutcome?> BindAsync(
        DecisionRequest request, PodRequirements pod, string node, long epoch, CancellationToken cancellationToken)
    {
        var key = ObjectKey.FromStorageKey("pods", request.PodKey);
        var binding = new JsonObject
        {
            ["kind"] = "Binding",
            ["apiVersion"] = "v1",
            ["metadata"] = new JsonObject { ["name"] = key.Name, ["namespace"] = key.Namespace, ["uid"] = pod.Uid },
            ["target"] = new JsonObject { ["kind"] = "Node", ["name"] = node },
        };
        // (5) One call, not repeated here: if its outcome is unknown the promise stands until it expires, and the queue brings the pod back.
        var reply = await grains.GetGrain<IObjectGrain>(key.ToString()).ExecuteAsync(
            new ObjectRequest
            {
                Verb = ObjectVerb.Bind,
                Body = CanonicalJson.SerializeNode(binding),
                NodeEpoch = epoch,
                FieldValidation = FieldValidation.Ignore,
                UserName = UserInfo.ControlPlane.Name,
                UserGroups = ControlPlaneGroups,
                UserUid = UserInfo.ControlPlane.Uid,
            },
            cancellationToken);
        if (reply.IsSuccess)
        {
            events.For(SchedulingProfiles.DefaultName).Record(About(key, pod), "Normal", "Scheduled", $"Successfully assigned {request.PodKey} to {node}");
            return new DecisionOutcome { Result = DecisionResult.Bound, Node = node };
        }
        var error = reply.GetError()!;
        Log.NotBound(logger, request.PodKey, node, error.Message);
        if (error.Code >= 500)
            return new DecisionOutcome { Result = DecisionResult.Failed, Message = error.Message }; // Of unknown outcome, too.
        cluster.Forget(pod.Uid);
        if (ObjectGrain.IsFenceMoved(error))
            return null;
        await grains.GetGrain<INodeGrain>(node).ReleaseAsync(pod.Uid, cancellationToken);
        // Gone, replaced by a namesake, or bound by another: nothing left to decide, says the pod's grain; the worker looks whether it is so.
        return new DecisionOutcome
        {
            Result = error.Code is 404 or 409 ? DecisionResult.Obsolete : DecisionResult.Failed,
            Message = error.Message,
        };
    }

    // What an event needs of the pod, without reading the pod.
    private static JsonObject About(ObjectKey key, PodRequirements pod) => new()
    {
        ["kind"] = "Pod",
        ["apiVersion"] = "v1",
        ["metadata"] = new JsonObject { ["name"] = key.Name, ["namespace"] = key.Namespace, ["uid"] = pod.Uid },
    };

    // The seed follows from pod and attempt (FNV-1a), the same in every process: the same decision on the same state can be made again.
    private static int Seed(string uid, int attempt)
    {
        var hash = 2166136261u;
        foreach (var c in uid)
            hash = (hash ^ c) * 16777619;
        return (int)((hash ^ (uint)attempt) * 16777619);
    }

    private async Task ReportUnschedulableAsync(DecisionRequest request, JsonObject pod, string message, CancellationToken cancellationToken)
    {
        events.For(SchedulingProfiles.DefaultName).Record(pod, "Warning", "FailedScheduling", message);
        var old = pod.Items("status", "conditions").FirstOrDefault(c => c.Text("type") == "PodScheduled");
        if (message == _lastMessage || (old.Text("reason") == "Unschedulable" && old.Text("message") == message))
            return;
        var others = pod.Items("status", "conditions").Where(c => c.Text("type") != "PodScheduled").Select(c => c.DeepClone());
        var condition = new JsonObject
        {
            ["type"] = "PodScheduled",
            ["status"] = "False",
            ["reason"] = "Unschedulable",
            ["message"] = message,
            ["lastProbeTime"] = null,
            ["lastTransitionTime"] = old.Text("status") == "False" ? old.TextOr(time.Stamp(), "lastTransitionTime") : time.Stamp(),
        };
        var patch = new JsonObject
        {
            ["metadata"] = new JsonObject { ["uid"] = pod.Text("metadata", "uid") },
            ["status"] = new JsonObject { ["conditions"] = new JsonArray([.. others, condition]) },
        };
        try
        {
            await Writer().PatchAsync(ObjectKey.FromStorageKey("pods", request.PodKey), patch, "status", cancellationToken);
            _lastMessage = message;
        }
        catch (StatusException error)
        {
            Log.NotReported(logger, request.PodKey, error.Message); // The next attempt says it again.
        }
    }

    private ObjectWriter Writer() => new(grains, time, UserInfo.ControlPlane, random);

    private static partial class Log
    {
        [LoggerMessage(LogLevel.Information, "{Pod} was not bound to {Node}: {Error}")]
        public static partial void NotBound(ILogger logger, string pod, string node, string error);

        [LoggerMessage(LogLevel.Debug, "{Pod}: the reason it is unschedulable could not be written: {Error}")]
        public static partial void NotReported(ILogger logger, string pod, string error);
    }
}
