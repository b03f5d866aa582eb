using System.Text.Json;
using System.Text.Json.Serialization;

namespace OrleansCluster.Kubelet.Variables;

/// <summary>
/// A container's environment on the node's disk, so that a crashed container can be started again by a restarted agent with the control plane away. It
/// may hold secrets, as the container engine's own files do: only the agent's user can read it.
/// </summary>
internal static class KeptEnvironment
{
    public static string FileOf(string podDirectory, string container) => Path.Combine(podDirectory, "containers", container, "environment.json");

    public static async Task SaveAsync(string path, ContainerEnvironment environment, CancellationToken cancellationToken)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        var options = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        var staged = path + ".new";
        await using (var file = new FileStream(staged, options))
        {
            await JsonSerializer.SerializeAsync(file, [.. environment.Variables], KeptEnvironmentJson.Default.ListKeyValuePairStringString, cancellationToken);
        }
        File.Move(staged, path, overwrite: true);
    }

    public static async Task<ContainerEnvironment> LoadAsync(string path, CancellationToken cancellationToken)
    {
        await using var file = File.OpenRead(path);
        var variables = await JsonSerializer.DeserializeAsync(file, KeptEnvironmentJson.Default.ListKeyValuePairStringString, cancellationToken);
        return new ContainerEnvironment(variables ?? [], []);
    }
}

[JsonSerializable(typeof(List<KeyValuePair<string, string>>))]
internal sealed partial class KeptEnvironmentJson : JsonSerializerContext;
