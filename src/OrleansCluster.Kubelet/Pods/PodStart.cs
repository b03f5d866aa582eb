using System.Diagnostics;
using OrleansCluster.Kubelet.Nodes;
using OrleansCluster.Kubelet.Operations;

namespace OrleansCluster.Kubelet.Pods;

/// <summary>
/// Times a pod's start and, if the control plane told of a trace, is its span: from the agent's first sight of the pod to its first status past Pending. A pod
/// that an agent finds again after its own restart is none.
/// </summary>
internal sealed class PodStart
{
    private readonly Activity? _span;
    private readonly long _begun;
    private bool _ended;

    public PodStart(PodDocument pod, NodeContext node, string? traceParent)
    {
        _begun = node.Services.Time.GetTimestamp();
        _ended = pod.Status.StartTime is not null || pod.Deleting;
        if (_ended || traceParent is null || !ActivityContext.TryParse(traceParent, null, isRemote: true, out var parent))
            return;
        var current = Activity.Current;
        _span = KubeletTelemetry.Source.StartActivity("start pod", ActivityKind.Consumer, parent)?
            .SetTag("k8s.namespace.name", pod.Identity.Namespace).SetTag("k8s.object.name", pod.Identity.Name).SetTag("k8s.node.name", node.NodeName);
        // It lasts longer than the call that brings the pod.
        Activity.Current = current;
    }

    /// <summary>What follows in this flow is a part of the start, while that lasts.</summary>
    public void Enter()
    {
        if (_span is { IsStopped: false })
            Activity.Current = _span;
    }

    /// <summary>The pod is past its start. Later calls do nothing. Caller holds the worker's lock.</summary>
    public void Ended(string phase, TimeProvider time)
    {
        if (_ended)
            return;
        _ended = true;
        if (phase is "Running" or "Succeeded")
            KubeletTelemetry.PodStart.Record(time.GetElapsedTime(_begun).TotalSeconds);
        _span?.SetTag("k8s.pod.phase", phase).Dispose();
    }
}
