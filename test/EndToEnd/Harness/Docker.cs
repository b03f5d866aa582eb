namespace OrleansCluster.EndToEnd.Harness;

/// <summary>The engine, asked past the cluster: what really runs, and violence against it.</summary>
internal static class Docker
{
    public static async Task<string> RunAsync(params string[] arguments) =>
        (await Command.RunAsync("docker", arguments, cancellation: TestContext.Current.CancellationToken)).OrFail().Output.Trim();

    /// <summary>An engine answers and has the images that the tests' pods use; otherwise the message says how to get there.</summary>
    public static async Task EnsureReadyAsync()
    {
        CommandResult version = await Command.RunAsync("docker", ["version", "--format", "{{.Server.Version}}"]);
        if (version.ExitCode != 0)
            throw new InvalidOperationException($"No Docker engine answers; infra/test starts one, or start dockerd.\n{version}");
        CommandResult images = await Command.RunAsync(Repository.Script("images/build"), [], TimeSpan.FromMinutes(5));
        if (images.ExitCode != 0)
            throw new InvalidOperationException($"The images of the tests could not be made.\n{images}");
    }

    /// <summary>Whether a container of that identifier runs at this moment.</summary>
    public static async Task<bool> RunsAsync(string id) =>
        (await Command.RunAsync("docker", ["inspect", "-f", "{{.State.Running}}", id])).Output.Trim() == "true";

    /// <summary>Containers, running or not, of these pods (pause containers included).</summary>
    public static async Task<IReadOnlyList<string>> ContainersOfAsync(string podUid, CancellationToken cancellation = default) =>
        Lines((await Command.RunAsync(
            "docker", ["ps", "-aq", "--no-trunc", "--filter", $"label=io.kubernetes.pod.uid={podUid}"], cancellation: cancellation)).Output);

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
