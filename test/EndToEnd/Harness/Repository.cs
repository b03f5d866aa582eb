using System.Reflection;

namespace OrleansCluster.EndToEnd.Harness;

/// <summary>Where things are in the working copy that these tests were built from.</summary>
internal static class Repository
{
    public static string Root { get; } = FindRoot();

    /// <summary>The program under test, of the same configuration as these tests unless ORLEANSCLUSTER_EXECUTABLE names another.</summary>
    public static string Executable { get; } =
        Environment.GetEnvironmentVariable("ORLEANSCLUSTER_EXECUTABLE")
        ?? Path.Combine(Root, "src", "OrleansCluster", "bin", Configuration(), "net10.0", "orleanscluster");

    public static string Manifest(string path) => Path.Combine(Root, "infra", "manifests", path);

    public static string Script(string path) => Path.Combine(Root, "infra", path);

    private static string Configuration() =>
        typeof(Repository).Assembly.GetCustomAttribute<AssemblyConfigurationAttribute>()?.Configuration ?? "Release";

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "OrleansCluster.sln")))
                return folder.FullName;
        }

        throw new InvalidOperationException($"No OrleansCluster.sln above {AppContext.BaseDirectory}.");
    }
}
