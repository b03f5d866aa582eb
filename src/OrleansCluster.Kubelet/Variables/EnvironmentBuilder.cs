using System.Text;
using System.Text.Json;
using OrleansCluster.Kubelet.ControlPlane;
using OrleansCluster.Kubelet.Pods;

namespace OrleansCluster.Kubelet.Variables;

/// <summary>A container's environment.</summary>
/// <param name="Variables">Names and values, in order.</param>
/// <param name="InvalidNames">Keys of `envFrom` sources that are no variable names, by source; they are skipped and told in an event.</param>
internal sealed record ContainerEnvironment(
    IReadOnlyList<KeyValuePair<string, string>> Variables, IReadOnlyList<(string Source, IReadOnlyList<string> Keys)> InvalidNames);

/// <summary>
/// Makes a container's environment, later ones winning: service variables, `envFrom` in order, `env` in order (with `$(NAME)` of what stands before).
/// </summary>
internal sealed class EnvironmentBuilder(INodeObjects objects)
{
    /// <exception cref="ContainerConfigException">Something it refers to is missing and not optional.</exception>
    public async Task<ContainerEnvironment> BuildAsync(PodDocument pod, PodContainer container, PodFacts facts, CancellationToken cancellationToken)
    {
        var result = new Dictionary<string, string>(StringComparer.Ordinal);
        var order = new List<string>();
        var invalid = new List<(string, IReadOnlyList<string>)>();
        var services = await ServicesAsync(pod, cancellationToken);

        void Set(string name, string value)
        {
            if (!result.ContainsKey(name))
                order.Add(name);
            result[name] = value;
        }

        foreach (var (name, value) in services)
            Set(name, value);

        foreach (var source in container.EnvFrom)
        {
            var (resource, reference) = source.ConfigMapRef is { } configMap ? ("configmaps", configMap) : ("secrets", source.SecretRef);
            if (reference is null)
                continue;
            var data = await DataAsync(resource, pod.Metadata.Namespace, reference.Name, reference.Optional, cancellationToken);
            var refused = new List<string>();
            foreach (var (key, value) in data ?? [])
            {
                var name = source.Prefix + key;
                if (IsVariableName(name))
                    Set(name, Encoding.UTF8.GetString(value));
                else
                    refused.Add(key);
            }
            if (refused.Count > 0)
                invalid.Add(($"{(resource == "secrets" ? "secret" : "configMap")} {pod.Metadata.Namespace}/{reference.Name}", refused));
        }

        foreach (var variable in container.Env)
        {
            if (await ValueAsync(pod, container, facts, variable, result, cancellationToken) is { } value)
                Set(variable.Name, value);
        }
        return new([.. order.Select(name => KeyValuePair.Create(name, result[name]))], invalid);
    }

    private async Task<string?> ValueAsync(
        PodDocument pod, PodContainer container, PodFacts facts, EnvVar variable, Dictionary<string, string> before, CancellationToken cancellationToken)
    {
        if (variable.ValueFrom is not { } from)
            return Expansion.Expand(variable.Value ?? "", before);
        if (from.FieldRef is { } field)
            return DownwardFields.Field(pod, facts, field.FieldPath);
        if (from.ResourceFieldRef is { } resourceField)
            return DownwardFields.Resource(pod, facts, resourceField, container.Name);
        var (resource, kind, reference) = from.ConfigMapKeyRef is { } configMap
            ? ("configmaps", "configmap", configMap)
            : ("secrets", "secret", from.SecretKeyRef);
        if (reference is null)
            return "";
        var data = await DataAsync(resource, pod.Metadata.Namespace, reference.Name, reference.Optional, cancellationToken);
        if (data is null)
            return null;
        if (data.TryGetValue(reference.Key, out var value))
            return Encoding.UTF8.GetString(value);
        return reference.Optional
            ? null
            : throw new ContainerConfigException($"couldn't find key {reference.Key} in {(kind == "configmap" ? "ConfigMap" : "Secret")} {pod.Metadata.Namespace}/{reference.Name}");
    }

    private async Task<SortedDictionary<string, byte[]>?> DataAsync(
        string resource, string @namespace, string name, bool optional, CancellationToken cancellationToken)
    {
        var bytes = await objects.GetAsync(resource, @namespace, name, cancellationToken);
        if (bytes is not null)
            return ObjectData.Read(bytes, base64: resource == "secrets");
        return optional ? null : throw new ContainerConfigException($"{resource[..^1]} \"{name}\" not found");
    }

    /// <summary>The services of the pod's namespace, unless it wants none, and in any case the API's own.</summary>
    private async Task<Dictionary<string, string>> ServicesAsync(PodDocument pod, CancellationToken cancellationToken)
    {
        var variables = new Dictionary<string, string>(StringComparer.Ordinal);
        var master = await objects.GetAsync("services", "default", "kubernetes", cancellationToken);
        if (master is not null)
            AddService(master, variables);
        if (pod.Spec.EnableServiceLinks == false)
            return variables;
        foreach (var service in await objects.ListAsync("services", pod.Metadata.Namespace, cancellationToken))
            AddService(service, variables);
        return variables;
    }

    private static void AddService(byte[] service, Dictionary<string, string> variables)
    {
        using var document = JsonDocument.Parse(service);
        ServiceVariables.Add(document.RootElement, variables);
    }

    /// <summary>Any printable ASCII but `=`, as the API allows it (relaxed environment variable names).</summary>
    private static bool IsVariableName(string name) =>
        name.Length > 0 && !char.IsAsciiDigit(name[0]) && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.');
}

/// <summary>Reads the keys and values of ConfigMaps and Secrets.</summary>
internal static class ObjectData
{
    /// <param name="bytes">The object.</param>
    /// <param name="base64">True for a Secret, whose `data` is base64; of a ConfigMap only `binaryData` is.</param>
    public static SortedDictionary<string, byte[]> Read(byte[] bytes, bool base64)
    {
        var result = new SortedDictionary<string, byte[]>(StringComparer.Ordinal);
        using var document = JsonDocument.Parse(bytes);
        if (document.RootElement.TryGetProperty("data", out var data) && data.ValueKind == JsonValueKind.Object)
        {
            foreach (var entry in data.EnumerateObject())
                result[entry.Name] = base64 ? entry.Value.GetBytesFromBase64() : Encoding.UTF8.GetBytes(entry.Value.GetString() ?? "");
        }
        if (document.RootElement.TryGetProperty("binaryData", out var binary) && binary.ValueKind == JsonValueKind.Object)
        {
            foreach (var entry in binary.EnumerateObject())
                result[entry.Name] = entry.Value.GetBytesFromBase64();
        }
        return result;
    }
}
