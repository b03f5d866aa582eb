using System.Text;
using k8s;
using k8s.Models;

namespace OrleansCluster.Testing;

/// <summary>Objects in few words, for the message of a wait that timed out.</summary>
internal static class StateText
{
    private const int MaxObjects = 20;

    public static string Of<T>(IReadOnlyList<T> objects)
        where T : IKubernetesObject<V1ObjectMeta>
    {
        var text = new StringBuilder();
        text.Append(objects.Count).Append(" objects");
        foreach (var obj in objects.Take(MaxObjects))
        {
            text.Append("; ").Append(obj.Metadata.NamespaceProperty is { Length: > 0 } ns ? ns + "/" : "").Append(obj.Metadata.Name);
            switch (obj)
            {
                case V1Pod pod:
                    text.Append(' ').Append(pod.Status?.Phase).Append(" on ").Append(pod.Spec.NodeName ?? "no node")
                        .Append(Conditions(pod.Status?.Conditions?.Select(c => (c.Type, c.Status, c.Message))));
                    break;
                case V1Node node:
                    text.Append(Conditions(node.Status?.Conditions?.Select(c => (c.Type, c.Status, c.Message))))
                        .Append(" taints [").AppendJoin(", ", node.Spec.Taints?.Select(t => t.Key) ?? []).Append(']');
                    break;
                case V1ReplicationController controller:
                    text.Append(' ').Append(controller.Status?.ReadyReplicas ?? 0).Append('/').Append(controller.Spec.Replicas);
                    break;
            }
            if (obj.Metadata.DeletionTimestamp is not null)
                text.Append(" deleting");
        }
        return text.Append(objects.Count > MaxObjects ? "; …" : "").ToString();
    }

    private static string Conditions(IEnumerable<(string Type, string Status, string Message)>? conditions) =>
        conditions is null ? "" : $" ({string.Join(", ", conditions.Select(c => c.Status == "True" ? c.Type : $"{c.Type}={c.Status} {c.Message}"))})";
}
