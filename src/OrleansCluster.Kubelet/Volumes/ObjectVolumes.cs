using System.Text;
using System.Text.Json;
using OrleansCluster.Kubelet.Variables;

namespace OrleansCluster.Kubelet.Volumes;

/// <summary>`configMap`: the keys of a ConfigMap as files.</summary>
internal sealed class ConfigMapVolume(TimeProvider time) : FilesVolume(time)
{
    public override string Field => "configMap";

    protected override Task CollectAsync(VolumeRequest request, JsonElement source, FileCollector files, CancellationToken cancellationToken) =>
        files.AddObjectAsync("configmaps", source, "name", cancellationToken);
}

/// <summary>`secret`: the keys of a Secret as files.</summary>
internal sealed class SecretVolume(TimeProvider time) : FilesVolume(time)
{
    public override string Field => "secret";

    protected override Task CollectAsync(VolumeRequest request, JsonElement source, FileCollector files, CancellationToken cancellationToken) =>
        files.AddObjectAsync("secrets", source, "secretName", cancellationToken);
}

/// <summary>`downwardAPI`: fields of the pod as files.</summary>
internal sealed class DownwardApiVolume(TimeProvider time) : FilesVolume(time)
{
    public override string Field => "downwardAPI";

    protected override Task CollectAsync(VolumeRequest request, JsonElement source, FileCollector files, CancellationToken cancellationToken)
    {
        files.AddDownward(source);
        return Task.CompletedTask;
    }
}

/// <summary>`projected`: several of the others in one directory.</summary>
internal sealed class ProjectedVolume(TimeProvider time) : FilesVolume(time)
{
    public override string Field => "projected";

    protected override async Task CollectAsync(VolumeRequest request, JsonElement source, FileCollector files, CancellationToken cancellationToken)
    {
        if (!source.TryGetProperty("sources", out var sources) || sources.ValueKind != JsonValueKind.Array)
            return;
        foreach (var part in sources.EnumerateArray())
        {
            if (part.TryGetProperty("configMap", out var configMap))
                await files.AddObjectAsync("configmaps", configMap, "name", cancellationToken);
            else if (part.TryGetProperty("secret", out var secret))
                await files.AddObjectAsync("secrets", secret, "name", cancellationToken);
            else if (part.TryGetProperty("downwardAPI", out var downward))
                files.AddDownward(downward);
            else
                throw new VolumeException($"projected source {part.EnumerateObject().FirstOrDefault().Name} is not supported by this node");
        }
    }
}

/// <summary>A volume whose files come from the API and follow it.</summary>
internal abstract class FilesVolume(TimeProvider time) : IVolumeType
{
    private const int DefaultMode = 0b110_100_100;

    public abstract string Field { get; }

    public bool Refreshes => true;

    public async Task<string> SetUpAsync(VolumeRequest request, JsonElement source, CancellationToken cancellationToken)
    {
        var mode = source.TryGetProperty("defaultMode", out var given) && given.TryGetInt32(out var number) ? number : DefaultMode;
        var files = new FileCollector(request, mode);
        try
        {
            await CollectAsync(request, source, files, cancellationToken);
        }
        catch (ContainerConfigException exception)
        {
            throw new VolumeException(exception.Message, exception);
        }
        catch (Exception exception) when (
            exception is not (VolumeException or OperationCanceledException) && AtomicFiles.Exist(request.Directory))
        {
            // The control plane is away: what was there before the agent's restart is better than nothing.
            return request.Directory;
        }
        if (request.Materialise)
            await AtomicFiles.WriteAsync(request.Directory, files.Files, request.Pod.Spec.SecurityContext.FsGroup, time, cancellationToken);
        return request.Directory;
    }

    protected abstract Task CollectAsync(VolumeRequest request, JsonElement source, FileCollector files, CancellationToken cancellationToken);
}

/// <summary>Gathers the files of a volume.</summary>
internal sealed class FileCollector(VolumeRequest request, int defaultMode)
{
    public Dictionary<string, VolumeFile> Files { get; } = new(StringComparer.Ordinal);

    public async Task AddObjectAsync(string resource, JsonElement source, string nameField, CancellationToken cancellationToken)
    {
        var name = source.TryGetProperty(nameField, out var named) ? named.GetString() ?? "" : "";
        var optional = source.TryGetProperty("optional", out var flag) && flag.ValueKind == JsonValueKind.True;
        var bytes = await request.Objects.GetAsync(resource, request.Pod.Metadata.Namespace, name, cancellationToken);
        if (bytes is null)
        {
            if (optional)
                return;
            throw new VolumeException($"{resource[..^1]} \"{name}\" not found");
        }

        var data = ObjectData.Read(bytes, base64: resource == "secrets");
        if (!source.TryGetProperty("items", out var items) || items.ValueKind != JsonValueKind.Array || items.GetArrayLength() == 0)
        {
            foreach (var (key, value) in data)
                Files[key] = new VolumeFile(value, defaultMode);
            return;
        }
        foreach (var item in items.EnumerateArray())
        {
            var key = item.GetProperty("key").GetString()!;
            if (data.TryGetValue(key, out var value))
                Files[item.GetProperty("path").GetString()!] = new VolumeFile(value, Mode(item));
            else if (!optional)
                throw new VolumeException($"references non-existent {(resource == "secrets" ? "secret" : "config")} key: {key}");
        }
    }

    public void AddDownward(JsonElement source)
    {
        if (!source.TryGetProperty("items", out var items) || items.ValueKind != JsonValueKind.Array)
            return;
        foreach (var item in items.EnumerateArray())
        {
            string text;
            if (item.TryGetProperty("fieldRef", out var field))
            {
                text = DownwardFields.Field(request.Pod, request.Facts, field.GetProperty("fieldPath").GetString()!);
            }
            else if (item.TryGetProperty("resourceFieldRef", out var resource))
            {
                text = DownwardFields.Resource(request.Pod, request.Facts, new Pods.ResourceFieldRef
                {
                    ContainerName = resource.TryGetProperty("containerName", out var container) ? container.GetString() : null,
                    Resource = resource.GetProperty("resource").GetString()!,
                    Divisor = resource.TryGetProperty("divisor", out var divisor) ? divisor : default,
                }, ownContainer: null);
            }
            else
            {
                continue;
            }
            Files[item.GetProperty("path").GetString()!] = new VolumeFile(Encoding.UTF8.GetBytes(text), Mode(item));
        }
    }

    private int Mode(JsonElement item) => item.TryGetProperty("mode", out var mode) && mode.TryGetInt32(out var number) ? number : defaultMode;
}
